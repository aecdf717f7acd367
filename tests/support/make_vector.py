"""Make a vector of ``tests/vectors/gguf/recorded`` from a model's folder and llama.cpp's files.

A vector keeps no weights, so llama.cpp is to convert a copy of the folder whose weights every
machine can make again. Three steps:

    python -m tests.support.make_vector prepare FOLDER NEW
    python convert_hf_to_gguf.py NEW --outtype f16 --outfile NAME-F16.gguf    (llama.cpp's)
    python -m tests.support.make_vector keep NEW NAME NAME-F16.gguf NAME-BF16.gguf …

Each file may be of another type; one that ``llama-quantize`` made with the importance matrix of
``tests/support/recorded.py`` is kept as ``TYPE+imatrix``. The first file is to be of a type that
llama.cpp's converter writes. The test of recorded vectors then finds the new one by itself.
"""

import argparse
import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gguf
import zstandard
from safetensors import safe_open

from tests.support.recorded import SHAPES, write_weights

RECORDED = Path(__file__).parents[1] / "vectors/gguf/recorded"

_LONGEST = 64
"""Characters or items from which a value is kept as its digest."""
_GUESSED = ("basename", "finetune", "version", "organization", "tags", "languages", "base_model",
            "quantized_by", "size_label_source", "repo_url", "source", "dataset")  # fmt: skip
"""Keys under ``general.`` that llama.cpp guesses from names and model cards."""
_WEIGHTED = "quantize.imatrix."


def prepare(folder: Path, new: Path) -> None:
    """Copy a model's small files into ``new``, with weights that every machine can make again.

    Args:
        folder: A model with safetensors weights, as its publisher spells it.
        new: Created; is to be converted by llama.cpp.
    """
    shutil.copytree(folder, new, ignore=shutil.ignore_patterns("*.safetensors"))
    (new / SHAPES).write_text(json.dumps(_read_shapes(folder)))
    write_weights(new)


def keep(folder: Path, name: str, files: Sequence[Path], into: Path = RECORDED) -> None:
    """Write the vector of a prepared folder.

    Args:
        folder: What ``prepare`` made.
        name: Of the vector.
        files: What llama.cpp made of the folder, one file a type.
        into: Where ``NAME.json`` and ``NAME.tar.zst`` go.
    """
    write_vector(into / f"{name}.json", describe(files))
    (into / f"{name}.tar.zst").write_bytes(_packed(folder))


def describe(files: Sequence[Path]) -> dict[str, Any]:
    """Return what a vector says of llama.cpp's files: metadata, tensors, and each type's bytes."""
    readers = [gguf.GGUFReader(path) for path in files]
    tensors = {tensor.name: _shape(tensor) for tensor in _sorted(readers[0].tensors)}
    types = {}
    for reader in readers:
        number = reader.fields["general.file_type"].contents()
        kind: dict[str, Any] = {"file_type": number, "data": []}
        shapes = {}
        for tensor in _sorted(reader.tensors):
            digest = hashlib.sha256(tensor.data.tobytes()).hexdigest()[:16]
            kind["data"].append(f"{tensor.tensor_type.name} {digest}")
            if _shape(tensor) != tensors[tensor.name]:
                shapes[tensor.name] = _shape(tensor)
        weighted = any(key.startswith(_WEIGHTED) for key in reader.fields)
        types[_type_name(number) + ("+imatrix" if weighted else "")] = kind | (
            {"shapes": shapes} if shapes else {}
        )
    return {"kv": _metadata(readers[0]), "tensors": tensors, "types": types}


def write_vector(path: Path, vector: dict[str, Any]) -> None:
    """Write a vector as all of them are written."""
    text = json.dumps(vector, indent=0, separators=(",", ":"), ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read_shapes(folder: Path) -> dict[str, dict[str, tuple[str, list[int]]]]:
    """Return file → tensor → type and shape, in the order of the files."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as weights:
            tensors = {name: weights.get_slice(name) for name in weights.offset_keys()}
            found[path.name] = {
                name: (tensor.get_dtype(), tensor.get_shape()) for name, tensor in tensors.items()
            }
    return found


def _metadata(reader: gguf.GGUFReader) -> dict[str, Any]:
    guessed = tuple(f"general.{key}" for key in _GUESSED)
    return {
        key: _shortened(field.contents())
        for key, field in reader.fields.items()
        if key != "general.file_type" and not key.startswith(("GGUF.", _WEIGHTED, *guessed))
    }


def _shortened(value: Any) -> Any:
    """Return a value; a long one as its length and digest."""
    if not isinstance(value, str | list) or len(value) <= _LONGEST:
        return value
    digest = hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]
    return {"n": len(value), "sha256": digest}


def _sorted(tensors: Iterable[Any]) -> list[Any]:
    """Return tensors in the order of ``llama-quantize``: those of no block, then by block."""

    def place(tensor: Any) -> tuple[int, str]:
        head, _, rest = tensor.name.partition(".")
        return (int(rest.partition(".")[0]) if head == "blk" else -1, tensor.name)

    return sorted(tensors, key=place)


def _shape(tensor: Any) -> list[int]:
    return [int(size) for size in tensor.shape]


def _type_name(number: int) -> str:
    """Return the field's name of a file type."""
    return gguf.LlamaFileType(number).name.removeprefix("ALL_").removeprefix("MOSTLY_")


def _packed(folder: Path) -> bytes:
    """Return the folder without its weights, with their names and shapes instead."""
    members = {path.name: path.read_bytes() for path in folder.iterdir()
               if path.suffix != ".safetensors"}  # fmt: skip
    members[SHAPES] = json.dumps(_read_shapes(folder)).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return zstandard.ZstdCompressor(level=19).compress(buffer.getvalue())


def main(arguments: Sequence[str]) -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(prog="make_vector", description=__doc__)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("prepare", help="copy a folder, with weights made anew")
    first.add_argument("folder", type=Path)
    first.add_argument("new", type=Path)
    first.set_defaults(run=lambda given: prepare(given.folder, given.new))
    second = commands.add_parser("keep", help="write the vector of a prepared folder")
    second.add_argument("folder", type=Path)
    second.add_argument("name")
    second.add_argument("files", type=Path, nargs="+")
    second.add_argument("--into", type=Path, default=RECORDED)
    second.set_defaults(
        run=lambda given: keep(given.folder, given.name, given.files, into=given.into)
    )
    given = parser.parse_args(arguments)
    given.run(given)


if __name__ == "__main__":
    main(sys.argv[1:])
