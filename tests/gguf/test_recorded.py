"""Every family as its publishers spell it: what llama.cpp's own tools made of tiny models.

The other vectors keep whole models; these keep the small files and make the weights anew
(``tests/support/recorded.py``), so they can be many.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from modelvault.core.protocol import Produced
from modelvault_converters.gguf.types import TARGETS
from tests.gguf.conftest import VECTORS
from tests.gguf.running import make_request, run
from tests.gguf.test_golden import read_metadata, shortened
from tests.support.recorded import unpack, weighted_columns, write_importance

RECORDED = VECTORS / "recorded"
NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))
WEIGHTED = "+imatrix"

NO_START = {
    "tokenizer.ggml.add_bos_token": False
}  # nothing says it; some runtimes take that for yes
WORDPIECE = {"tokenizer.ggml.pre": "default"}  # the runtime reads the name for byte-level BPE alone

PYTHON_TAG = {"tokenizer.ggml.eot_token_id": 506}
# An end that the publisher's list names, and no text tells: llama.cpp's converter reads no lists.

DEVIATIONS: dict[str, Mapping[str, object]] = {
    "llama31": PYTHON_TAG,
    "llama-fp8-rows": PYTHON_TAG,
    "phi35": {"tokenizer.ggml.eot_token_id": 601},
    "bge": WORDPIECE,
    "minilm": WORDPIECE,
    # The runtime wants the one key, llama.cpp's converter writes the other alone.
    "exaone35": {"exaone.attention.layer_norm_rms_epsilon": 9.999999747378752e-06},
    "glm4": NO_START | {"tokenizer.ggml.eom_token_id": 1028},
    "glm45": NO_START,
    # llama.cpp's converter names the type of the experts, which are so in every file of ours.
    "gpt-oss": {"general.file_type": 1},
    "olmo2": NO_START,
    "olmo3": NO_START,
    # llama.cpp's converter writes these names in the order of a hash, another each time.
    "cohere2": {"tokenizer.chat_templates": ["tool_use", "rag"]},
    "command-r": {"tokenizer.chat_templates": ["tool_use", "rag"]},
    "command-r-plus": {"tokenizer.chat_templates": ["tool_use", "rag"]},
}
"""Metadata that differs on purpose; docs/formats/gguf.md gives the reasons."""


def read_tensors(path: Path) -> tuple[dict[str, list[int]], list[str]]:
    """Return name → shape in the order of the file, and of each tensor type and digest."""
    tensors = GGUFReader(path).tensors
    digests = [hashlib.sha256(tensor.data.tobytes()).hexdigest()[:16] for tensor in tensors]
    return (
        {tensor.name: [int(size) for size in tensor.shape] for tensor in tensors},
        [f"{tensor.tensor_type.name} {digest}" for tensor, digest in zip(tensors, digests)],
    )


def convert_all(folder: Path, output: Path, targets: list[str], **options: str) -> dict[str, Path]:
    """Return the file of every target, made in one pass."""
    events = run(make_request(folder, targets, output, options=options))
    return {item.target: output / item.files[0] for item in events if isinstance(item, Produced)}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_model_becomes_what_llama_cpp_makes_of_it(name: str, tmp_path: Path) -> None:
    """Metadata, and names, order, types, shapes and bytes of all tensors, in every type kept."""
    golden = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    folder = tmp_path / name
    folder.mkdir()
    unpack(RECORDED / f"{name}.tar.zst", folder)
    plain = [target for target in golden["types"] if not target.endswith(WEIGHTED)]
    weighted = [target.removesuffix(WEIGHTED) for target in golden["types"] if target not in plain]
    files = convert_all(folder, tmp_path / "plain", plain)
    if weighted:
        columns = weighted_columns(files[plain[0]])
        matrix = write_importance(tmp_path / "imatrix.gguf", columns)
        made = convert_all(folder, tmp_path / "weighted", weighted, imatrix=str(matrix))
        files |= {target + WEIGHTED: path for target, path in made.items()}
    for target, expected in golden["types"].items():
        shapes, data = read_tensors(files[target])
        places = golden["tensors"] | expected.get("shapes", {})
        assert list(shapes.items()) == list(places.items()), target
        assert data == expected["data"], target
        kept = golden["kv"] | {"general.file_type": expected["file_type"]}
        found = as_kept(files[target], golden["kv"])
        assert found == kept | DEVIATIONS.get(name, {}), target


def as_kept(path: Path, golden: dict[str, Any]) -> dict[str, Any]:
    """Return a file's metadata with long values the way the vectors hold them."""
    return {
        key: shortened(value) if isinstance(golden.get(key), dict) else value
        for key, value in read_metadata(path).items()
    }


def test_every_type_has_a_recorded_vector() -> None:
    """A type that is added without what llama.cpp makes of it shows up here."""
    kept = {
        target.removesuffix(WEIGHTED)
        for name in NAMES
        for target in json.loads((RECORDED / f"{name}.json").read_text())["types"]
    }
    assert kept == set(TARGETS)
