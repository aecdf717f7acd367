"""A plan's tensors are those of the file that the conversion then writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault.app.inspect import inspect_path
from modelvault.core.protocol import Laid, PlannedTensor, encode_event, lay, parse_event
from modelvault.errors import ConverterMissing
from modelvault_converters.gguf import kernel, quantize
from tests.gguf.running import convert, plan
from tests.support.tinymodel import Kind


@pytest.fixture
def model(tiny: Callable[[Kind], Path]) -> Path:
    """Return a tiny model."""
    return tiny("spm")


@pytest.mark.parametrize("target", ["F16", "Q4_K_M"])
def test_plan_tells_what_inspect_finds_afterwards(model: Path, tmp_path: Path, target: str) -> None:
    """Name, type, shape, offset and size of each tensor, in the order of the file."""
    laid = [event for event in plan(model, target) if isinstance(event, Laid)]
    planned = [tensor for event in laid for tensor in event.tensors]
    found = inspect_path(convert(model, target, tmp_path / "out"))
    assert planned == [
        PlannedTensor(
            name=tensor.name,
            type=tensor.type,
            shape=tensor.shape,
            file=tensor.file,
            offset=tensor.offset,
            size=tensor.size or 0,
        )
        for tensor in found.tensors
    ]
    assert len(planned) > 10


def test_plan_says_that_the_quantiser_is_missing(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run does not promise what the run could not keep."""

    def missing() -> None:
        raise ConverterMissing("xllamacpp is not installed")

    monkeypatch.setattr(quantize, "quantizer", missing)
    monkeypatch.setattr(kernel, "find_kernel", lambda: None)
    with pytest.raises(ConverterMissing, match="xllamacpp"):
        plan(model, "Q4_K_M")
    assert plan(model, "F16")


def tensor(name: str) -> PlannedTensor:
    """Return a tensor of this name."""
    return PlannedTensor(name=name, type="F16", shape=(2, 3), file="a.gguf", offset=64, size=12)


def test_thousands_of_tensors_come_in_short_lines() -> None:
    """However many tensors and however long their names, a line stays below its limit."""
    tensors = [tensor(f"layer {number}") for number in range(1201)]
    events = list(lay("F16", tensors))
    assert [len(event.tensors) for event in events] == [500, 500, 201]
    assert [item for event in events for item in event.tensors] == tensors
    assert [parse_event(encode_event(event)) for event in events] == events
    long = list(lay("F16", [tensor("\N{BELL}" * 60_000) for _ in range(4)]))
    assert max(len(encode_event(event)) for event in long) < 1024 * 1024
    assert list(lay("F16", [])) == []
