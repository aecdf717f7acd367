"""Layers run one by one compute what the whole model does; scaled ones compute the same."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from modelvault_converters.awq.models.families import Fold
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.search.folds import apply_scales, find_sharing
from tests.awq.models import CASES, PUBLISHED, make_random, open_model, spell_as_published

LENGTH = 24


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Model]]:
    """Return a random model, as transformers and as the converter hold it."""
    whole = make_random(tmp_path / "model", str(request.param))
    with ExitStack() as stack:
        yield whole, open_model(tmp_path / "model", stack)


def _hidden_states(whole: Any) -> list[torch.Tensor]:
    """Return what the layers of a whole model are given and return, the last norm included."""
    tokens = torch.arange(LENGTH).reshape(1, -1) * 7 % 96
    with torch.no_grad():
        states = whole(tokens, output_hidden_states=True).hidden_states
    return [state[0] for state in states]


def _compare(whole: Any, model: Model) -> None:
    """Run a model's layers one by one, and compare what each returns with the whole model's."""
    expected = _hidden_states(whole)
    runner = LayerRunner(model)
    hidden = expected[0]
    for number in range(model.layers):
        hidden = runner.run(runner.load(number, runner.read(number)), hidden)
        if number + 1 < model.layers:
            torch.testing.assert_close(hidden, expected[number + 1], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        last = whole.model.norm(hidden)
    torch.testing.assert_close(last, expected[-1], atol=1e-5, rtol=1e-5)


def test_layers_run_one_by_one_equal_the_whole_model(case: tuple[Any, Model]) -> None:
    """Masks, windows, rotary encodings, caps and experts are those of transformers."""
    _compare(*case)


@pytest.mark.parametrize("case_name", PUBLISHED)
def test_configurations_as_published_describe_the_same_model(
    case_name: str, tmp_path: Path
) -> None:
    """The Hub's files spell rotary encodings, windows and experts in their own ways."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "model"
    make_random(folder, case_name, **({"hidden_size": 128} if case_name == "phi3" else {}))
    spell_as_published(folder, case_name)
    whole = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with ExitStack() as stack:
        _compare(whole, open_model(folder, stack))


def test_scaled_layers_compute_the_same_function(case: tuple[Any, Model]) -> None:
    """Any scales may be folded, in every group of every family: nothing is lost or forgotten."""
    whole, model = case
    runner = LayerRunner(model)
    generator = torch.Generator().manual_seed(5)
    dtype = getattr(torch, model.family.dtype)
    for number, hidden in enumerate(_hidden_states(whole)[: model.layers]):
        state = runner.read(number)
        expected = runner.run(runner.load(number, state), hidden)
        original = {name: value.clone() for name, value in state.items()}
        for group in model.groups(number):
            shapes = {name: tuple(value.shape) for name, value in state.items()}
            sharing = find_sharing(group, shapes, model.heads)
            width = shapes[f"{group.name}.weight"][1]
            wanted = sharing.share(torch.rand(width, generator=generator) * 7 + 0.2)
            apply_scales(state, group, wanted, sharing, dtype)
        changed = {name for name, value in state.items() if not torch.equal(value, original[name])}
        assert {f"{name}.weight" for name in model.family.linears(model.config, number)} <= changed
        found = runner.run(runner.load(number, state), hidden)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_folded_norms_are_what_the_checkpoint_holds(tmp_path: Path) -> None:
    """Scales are those that remain after the norm was rounded: coarse types lose nothing."""
    make_random(tmp_path / "model", "gemma3")
    with ExitStack() as stack:
        model = open_model(tmp_path / "model", stack)
        state = LayerRunner(model).read(0)
    group = model.groups(0)[0]
    assert group.fold is Fold.OFFSET_NORM
    before = state["input_layernorm.weight"] + 1
    sharing = find_sharing(group, {key: tuple(v.shape) for key, v in state.items()}, model.heads)
    taken = apply_scales(state, group, torch.full((64,), 23.0), sharing, torch.bfloat16)
    norm = state["input_layernorm.weight"]
    assert torch.equal(norm, norm.bfloat16().float())
    torch.testing.assert_close(taken * (norm + 1), before)


def test_runner_keeps_no_layer_that_was_run(tmp_path: Path) -> None:
    """One layer's weights are in memory at a time."""
    import gc
    import weakref

    make_random(tmp_path / "model", "llama")
    with ExitStack() as stack:
        runner = LayerRunner(open_model(tmp_path / "model", stack))
        layer = runner.load(0, runner.read(0))
        runner.run(layer, torch.zeros(4, 64))
        weight = weakref.ref(layer.get_parameter("mlp.up_proj.weight"))
        del layer
        gc.collect()
    assert weight() is None
