"""Another device computes the same, is never mixed with the CPU, and holds what is foretold."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from modelvault.core.protocol import Produced
from modelvault_converters.awq import capacity, options
from modelvault_converters.awq.capacity import Work, estimate_device_memory
from modelvault_converters.awq.formats.packing import quantize
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.raw import as_bytes
from modelvault_converters.awq.search.observe import Observer
from modelvault_converters.awq.search.rounding import Rounded, Settings, round_awq
from tests.awq.models import make_random, open_model
from tests.awq.running import make_request, produced, run
from tests.awq.weights import dequantize
from tests.support.fardevice import FarDevice
from tests.support.trainedmodel import Family, load

Trained = Callable[[Family], Path]

FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi3",
    "mixtral",
    "qwen2-moe",
    "qwen3-moe",
)
GROUP, LENGTH = 32, 24


def _convert_layer(model: Model, device: torch.device) -> tuple[dict[str, torch.Tensor], Rounded]:
    """Return a layer after AWQ, and its linears in four bits."""

    def rounder(weight: torch.Tensor, shrink: torch.Tensor | None) -> Any:
        return quantize(weight, GROUP, shrink)

    runner, groups = LayerRunner(model, device), model.groups(0)
    generator = torch.Generator().manual_seed(11)
    observer = Observer(groups, 2, GROUP)
    state = runner.read(0)
    layer = runner.load(0, state)
    with observer.watching(layer):
        for _ in range(2):
            runner.run(layer, torch.randn(LENGTH, model.hidden, generator=generator))
    steps = round_awq(
        state, observer.inputs(), groups, Settings(rounder=rounder, heads=model.heads)
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return state, end.value


@pytest.mark.parametrize("case", FAMILIES)
def test_another_device_rounds_alike_within_what_is_foretold(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but a few values on the edge between two are the same."""
    monkeypatch.setattr(capacity, "_LIBRARIES", 0)
    monkeypatch.setattr(capacity, "_PREDICTIONS", 0)
    make_random(tmp_path / "model", case)
    with ExitStack() as stack, torch.no_grad():
        model = open_model(tmp_path / "model", stack)
        _, expected = _convert_layer(model, torch.device("cpu"))
        with FarDevice() as far:
            state, found = _convert_layer(model, far.device)
            assert {value.device for value in state.values()} == {far.device}
            linears = {name: item.values.cpu() for name, item in found.linears.items()}
        foretold = estimate_device_memory(Work.of(LayerRunner(model), LENGTH, GROUP))
    assert linears.keys() == expected.linears.keys()
    for name, values in linears.items():
        same = (values == expected.linears[name].values).float().mean()
        assert same > 0.99, name
    assert found.error == pytest.approx(expected.error, rel=1e-3)
    assert far.peak < foretold < 3 * far.peak


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> FarDevice:
    """Return a device that ``--device cuda`` stands for, with room for everything."""
    device = FarDevice()
    read = options._read_device
    monkeypatch.setattr(
        options, "_read_device", lambda text: device.device if text == "cuda" else read(text)
    )
    monkeypatch.setattr(capacity, "device_memory", lambda _: 1 << 40)
    return device


def _convert(source: Path, target: str, output: Path, **given: Any) -> Produced:
    return produced(run(make_request(source, target, output, check="1", **given)))


def _compare_reports(found: Produced, expected: Produced) -> None:
    """Both say the same of the result, but for the rounding of sums."""
    assert found.parameters.keys() == expected.parameters.keys()
    for name, value in expected.parameters.items():
        if name.startswith(("kl.", "perplexity.")):
            assert float(found.parameters[name]) == pytest.approx(float(value), rel=0.02), name


@pytest.mark.parametrize("target", ["AWQ", "W4A16"])
def test_conversion_on_another_device_gives_the_same_model(
    target: str, far: FarDevice, trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """Layers, search and predictions take place there; files and report are the same."""
    given = {"calibration": str(corpus), "samples": "4", "sequence_length": "64"}
    expected = _convert(trained("llama"), target, tmp_path / "cpu", **given)
    with far:
        found = _convert(trained("llama"), target, tmp_path / "far", **given, device="cuda")
    assert far.launches > 100_000
    _compare_reports(found, expected)
    weights, others = (dequantize(tmp_path / name) for name in ("cpu", "far"))
    for name, values in weights.items():
        same = torch.isclose(others[name], values, rtol=1e-3, atol=1e-6).float().mean()
        assert same > 0.99, name


@pytest.mark.parametrize("target", ["FP8", "INT8"])
def test_check_of_eight_bits_takes_place_on_another_device(
    target: str, far: FarDevice, trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """What is written does not depend on it."""
    given = {"check_text": str(corpus)}
    expected = _convert(trained("gemma2"), target, tmp_path / "cpu", **given)
    with far:
        found = _convert(trained("gemma2"), target, tmp_path / "far", **given, device="cuda")
    assert far.launches > 100
    _compare_reports(found, expected)
    weights, others = (load(tmp_path / name) for name in ("cpu", "far"))
    for name, values in weights.items():
        assert torch.equal(others[name].float(), values.float()), name


def test_tensors_of_two_devices_do_not_mix() -> None:
    """The device that stands for all others refuses what they refuse."""
    near = torch.ones(3)
    with FarDevice() as far:
        there = near.to(far.device)
        assert (there + torch.tensor(2.0)).cpu().tolist() == [3, 3, 3]
        with pytest.raises(RuntimeError, match="two devices, cpu and far"):
            there += near
        with pytest.raises(RuntimeError, match="numpy"):
            as_bytes(there)
        assert far.held == 12
        del there
        assert far.held == 0
    assert far.peak == 24
