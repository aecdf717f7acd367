"""The script that makes vectors writes what the repository's vectors hold."""

import json
import shutil
from pathlib import Path

import pytest

from tests.gguf.running import make_request, run
from tests.gguf.test_recorded import RECORDED, WEIGHTED
from tests.support import make_vector
from tests.support.recorded import unpack


@pytest.mark.parametrize("name", ["llama32", "qwen2-experts"])
def test_vector_made_again_is_the_one_in_the_repository(name: str, tmp_path: Path) -> None:
    """From files that equal llama.cpp's come the same JSON and the same small files."""
    golden = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    prepared = tmp_path / "prepared" / name
    prepared.mkdir(parents=True)
    unpack(RECORDED / f"{name}.tar.zst", prepared)
    plain = [target for target in golden["types"] if not target.endswith(WEIGHTED)]
    run(make_request(prepared, plain, tmp_path / "out"))
    files = [str(tmp_path / "out" / f"{name}-{target}.gguf") for target in plain]

    made = tmp_path / "made"
    made.mkdir()
    make_vector.main(["keep", str(prepared), name, *files, "--into", str(made)])

    vector = json.loads((made / f"{name}.json").read_text(encoding="utf-8"))
    golden["types"] = {target: golden["types"][target] for target in plain}
    added = {"tokenizer.ggml.add_bos_token"}  # ours, where no file of the model says it
    assert {key: value for key, value in vector["kv"].items()
            if key not in added - golden["kv"].keys()} == golden["kv"]  # fmt: skip
    assert (vector["tensors"], vector["types"]) == (golden["tensors"], golden["types"])
    assert list(vector["tensors"]) == list(golden["tensors"])

    again, before = tmp_path / "again", tmp_path / "before"
    for folder, packed in ((again, made), (before, RECORDED)):
        folder.mkdir()
        unpack(packed / f"{name}.tar.zst", folder)
    assert contents(again) == contents(before)


def test_prepared_weights_are_those_that_the_test_makes(tmp_path: Path) -> None:
    """A folder with weights of its own gets the reproducible ones; all else stays."""
    unpack_into = tmp_path / "reference"
    unpack_into.mkdir()
    unpack(RECORDED / "qwen25.tar.zst", unpack_into)
    foreign = Path(shutil.copytree(unpack_into, tmp_path / "foreign"))
    weights = foreign / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4096:] = bytes(4096)
    weights.write_bytes(data)

    make_vector.main(["prepare", str(foreign), str(tmp_path / "new")])

    assert contents(foreign) != contents(unpack_into)
    assert contents(tmp_path / "new") == contents(unpack_into)


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_vectors_are_written_as_they_stand(path: Path, tmp_path: Path) -> None:
    """Writing a vector of the repository again gives the same bytes."""
    make_vector.write_vector(tmp_path / "v.json", json.loads(path.read_text(encoding="utf-8")))
    assert (tmp_path / "v.json").read_bytes() == path.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
