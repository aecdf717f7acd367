"""The converter's files hold what llama.cpp's own tools made of the same models."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from modelvault.core.protocol import Produced
from modelvault_converters.gguf.types import TARGETS
from tests.gguf.conftest import VECTORS
from tests.gguf.running import make_request, run

GOLDEN = {"F16": "f16", "BF16": "bf16", "Q8_0": "q8_0"} | {
    name: name for name in ("Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_M", "Q2_K")
}
"""Target → the spelling in the vectors' names."""

UNPROVEN = {"F32", "Q5_K_S", "Q5_0", "IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_S", "Q2_K_S"}
"""Targets that the whole models have no vectors for; those of test_recorded.py have."""

DEVIATIONS: dict[str, dict[str, object]] = {
    "llama3": {},
    "llama3-odd": {},
    "llama-spm": {},
    "mixtral": {},
    "qwen2": {},
    "gemma2": {},
    "phi3": {},
    # Nothing says whether BOS is added; some runtimes take that for yes.
    "deepseek2": {"tokenizer.ggml.add_bos_token": False},
}
"""Metadata that differs on purpose; docs/formats/gguf.md gives the reasons."""

CASES = [
    (name, target)
    for name in DEVIATIONS
    for target in GOLDEN
    if (name, target) != ("phi3", "Q4_0")  # llama.cpp's result was not kept
]


def read_tensors(path: Path) -> dict[str, list[Any]]:
    """Return name → type, shape and digest, as the vectors spell them."""
    return {
        tensor.name: [
            tensor.tensor_type.name,
            [int(size) for size in tensor.shape],
            hashlib.sha256(tensor.data.tobytes()).hexdigest()[:16],
        ]
        for tensor in GGUFReader(path).tensors
    }


def read_metadata(path: Path) -> dict[str, Any]:
    """Return every metadata key of a file."""
    fields = GGUFReader(path).fields
    return {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}


def shortened(value: Any) -> Any:
    """Return a long value the way the vectors hold it."""
    digest = hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]
    return {"n": len(value), "sha256": digest}


@pytest.fixture(scope="module")
def converted(
    request: pytest.FixtureRequest,
    vector: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, dict[str, Path]]:
    """Return a vector's name, and its file for every type, made in one pass."""
    name = request.param
    output = tmp_path_factory.mktemp(name)
    events = run(make_request(vector(name), GOLDEN, output))
    made = {item.target: output / item.files[0] for item in events if isinstance(item, Produced)}
    assert list(made) == list(GOLDEN)
    return name, made


@pytest.mark.parametrize(("converted", "target"), CASES, indirect=["converted"])
def test_converted_tensors_are_those_of_llama_cpp(
    converted: tuple[str, dict[str, Path]], target: str
) -> None:
    """Names, types, shapes and bytes of all tensors are equal, for every type."""
    name, files = converted
    golden = json.loads((VECTORS / "golden" / f"{name}-{GOLDEN[target]}.json").read_text())
    assert read_tensors(files[target]) == golden["tensors"]


@pytest.mark.parametrize(("converted", "target"), CASES, indirect=["converted"])
def test_converted_metadata_is_that_of_llama_cpp(
    converted: tuple[str, dict[str, Path]], target: str
) -> None:
    """Every key and value is equal, but for the deviations that the documents list."""
    name, files = converted
    golden = json.loads((VECTORS / "golden" / f"{name}-{GOLDEN[target]}.json").read_text())["kv"]
    made = read_metadata(files[target])
    for key, value in made.items():
        if isinstance(golden.get(key), dict):
            made[key] = shortened(value)
    assert made == golden | DEVIATIONS[name]


def test_every_type_without_imatrix_has_a_golden() -> None:
    """A type that is added without vectors of llama.cpp shows up here."""
    assert set(TARGETS) - set(GOLDEN) == UNPROVEN


def test_threads_and_other_targets_leave_no_trace(
    vector: Callable[[str], Path], tmp_path: Path
) -> None:
    """One thread alone and seven with another target write the same bytes."""
    folder = vector("llama3")
    alone = run(make_request(folder, ["Q4_K_M"], tmp_path / "alone", threads=1))
    both = run(make_request(folder, ["F16", "Q4_K_M"], tmp_path / "both", threads=7))
    files = [
        where / event.files[0]
        for where, events in ((tmp_path / "alone", alone), (tmp_path / "both", both))
        for event in events
        if isinstance(event, Produced) and event.target == "Q4_K_M"
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
