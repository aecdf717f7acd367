"""Layers rounded in place: on any device, with any expert, in the memory of one layer."""

from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch

from modelvault_converters.awq.formats.packing import Quantized, quantize
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.search.observe import Observer
from modelvault_converters.awq.search.rounding import (
    Rounded,
    Settings,
    Step,
    round_awq,
    round_plainly,
)
from tests.awq.models import make_random, open_model

GROUP = 32
State = dict[str, torch.Tensor]


def _round(weight: torch.Tensor, shrink: torch.Tensor | None) -> Quantized:
    return quantize(weight, GROUP, shrink)


def _settings(model: Model) -> Settings:
    return Settings(rounder=_round, heads=model.heads)


def _sequences(count: int, channels: int = 64) -> list[torch.Tensor]:
    generator = torch.Generator(device="cpu").manual_seed(1)
    return [
        torch.randn(48, channels, generator=generator, device="cpu").mul_(
            1 + 9 * (torch.arange(channels, device="cpu") % 16 == 0)
        )
        for _ in range(count)
    ]


def _finish(
    steps: Generator[Step, None, Rounded],
) -> tuple[list[Step], Rounded]:
    """Return all steps, and what they ended with."""
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return told, end.value


def _make(model: Model, number: int, sequences: list[torch.Tensor]) -> tuple[State, Rounded]:
    """Return a layer after AWQ, and what is known of it."""
    runner = LayerRunner(model, "cpu")
    state, groups = runner.read(number), model.groups(number)
    layer = runner.load(number, state)
    observer = Observer(groups, len(sequences), GROUP)
    with observer.watching(layer):
        for sequence in sequences:
            runner.run(layer, sequence)
    return state, _finish(round_awq(state, observer.inputs(), groups, _settings(model)))[1]


@pytest.mark.parametrize("case", ["llama", "gemma2", "phi3", "mixtral", "qwen2-moe"])
def test_nothing_is_made_on_a_device_that_was_not_asked_for(case: str, tmp_path: Path) -> None:
    """With another default device the same bits come out: every tensor says where it is."""
    make_random(tmp_path / "model", case)
    with ExitStack() as stack:
        model = open_model(tmp_path / "model", stack)
        expected, _ = _make(model, 0, _sequences(4))
        with torch.device("meta"):
            found, _ = _make(model, 0, _sequences(4))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_state_holds_what_the_linears_in_four_bits_stand_for(tmp_path: Path) -> None:
    """The layer that is measured is the one that is written, and the rest fits its type."""
    make_random(tmp_path / "model", "qwen2-moe-dense-layers")
    with ExitStack() as stack:
        model = open_model(tmp_path / "model", stack)
        for number in range(2):
            state, rounded = _make(model, number, _sequences(4))
            names = set(model.family.linears(model.config, number))
            assert rounded.linears.keys() == names
            for name, value in state.items():
                linear = name.removesuffix(".weight")
                held = (
                    rounded.linears[linear].dequantize()
                    if linear in names
                    else value.half().float()
                )
                assert torch.equal(value, held)
            assert ("mlp.gate.weight" in state) == (number == 0)


def test_rounding_takes_place_in_the_tensors_given(tmp_path: Path) -> None:
    """No second copy of a layer: plainly or the AWQ way, the storage stays."""
    make_random(tmp_path / "model", "mixtral")
    with ExitStack() as stack:
        model = open_model(tmp_path / "model", stack)
        runner, groups = LayerRunner(model), model.groups(0)
        state = runner.read(0)
        places = {name: value.data_ptr() for name, value in state.items()}
        round_plainly(state, groups, _round)
        assert {name: value.data_ptr() for name, value in state.items()} == places
        name = "block_sparse_moe.experts.3.w2.weight"
        plain = _round(runner.read(0)[name], None).dequantize()
        assert torch.equal(state[name], plain)
        _finish(round_awq(state, {}, groups, _settings(model)))
        assert {name: value.data_ptr() for name, value in state.items()} == places


def test_experts_that_calibration_never_reaches_are_rounded_plainly_and_named(
    tmp_path: Path,
) -> None:
    """Their gate and up still take the scales that the norm lost; their down stays as it was."""
    make_random(tmp_path / "model", "mixtral")
    with ExitStack() as stack:
        model = open_model(tmp_path / "model", stack)
        runner = LayerRunner(model)
        runner.read(0)
        layer = runner.load(0, runner.read(0))
        seen: set[int] = set()
        experts = layer.get_submodule("mlp.experts")
        for number, expert in experts.named_children():
            expert.register_forward_pre_hook(partial(_note, seen, int(number)))
        sequence = _sequences(1)[0][:1].expand(20, -1).contiguous()
        runner.run(layer, sequence)
        state, rounded = _make(model, 0, [sequence])
        original = runner.read(0)
    assert len(seen) == 2
    lost = {f"block_sparse_moe.experts.{number}.w2" for number in range(4) if number not in seen}
    assert set(rounded.unreached) == lost
    for name in lost:
        plain = _round(original[f"{name}.weight"], None).dequantize()
        assert torch.equal(state[f"{name}.weight"], plain)
        up = name.replace("w2", "w1") + ".weight"
        ratio = (
            original["post_attention_layernorm.weight"] / state["post_attention_layernorm.weight"]
        )
        rescaled = _round(original[up] * ratio, None).dequantize()
        torch.testing.assert_close(state[up], rescaled)


def _note(seen: set[int], number: int, *_: object) -> None:
    seen.add(number)


def test_error_told_is_that_of_the_outputs(tmp_path: Path) -> None:
    """Each step is told with the error before and after; scales and ranges never raise it."""
    make_random(tmp_path / "model", "llama")
    with ExitStack() as stack:
        model = open_model(tmp_path / "model", stack)
        runner, groups = LayerRunner(model), model.groups(0)
        state = runner.read(0)
        layer = runner.load(0, state)
        observer = Observer(groups, 4, GROUP)
        with observer.watching(layer):
            for sequence in _sequences(4):
                runner.run(layer, sequence)
        told, rounded = _finish(round_awq(state, observer.inputs(), groups, _settings(model)))
    assert [step.text for step in told] == [
        f"{what} of {names}"
        for what in ("scales", "ranges")
        for names in ("q_proj, k_proj, v_proj", "o_proj", "gate_proj, up_proj", "down_proj")
    ]
    assert all(step.after <= step.before for step in told[:4])
    assert rounded.error < rounded.plain_error
