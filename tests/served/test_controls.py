"""Negative controls: folders that vLLM loads without a word, and that the comparison catches."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.served.bench import Bench
from tests.served.limits import NEAR, choose_dtype, choose_limit
from tests.support.trainedmodel import load

Tensors = dict[str, torch.Tensor]


def reverse_nibbles(tensors: Tensors) -> None:
    """Let nibbles hold columns 0 to 7 in this order, as GPTQ's do."""
    awq = (0, 2, 4, 6, 1, 3, 5, 7)
    for name in [name for name in tensors if name.endswith("qweight")]:
        packed, moved = tensors[name], torch.zeros_like(tensors[name])
        for nibble, column in enumerate(awq):
            moved |= ((packed >> (4 * nibble)) & 15) << (4 * column)
        tensors[name] = moved


def shift_zeros(tensors: Tensors) -> None:
    """Take one from every zero point that allows it, as GPTQ's first version does."""
    for name in [name for name in tensors if name.endswith("qzeros")]:
        for nibble in range(8):
            value = (tensors[name] >> (4 * nibble)) & 15
            tensors[name] -= (value > 0).int() << (4 * nibble)


def move_scales(tensors: Tensors) -> None:
    """Give each row its neighbour's scale."""
    for name in [name for name in tensors if name.endswith("weight_scale")]:
        tensors[name] = tensors[name].roll(1, dims=0)


@pytest.mark.parametrize(
    ("target", "harm"),
    [
        ("AWQ", reverse_nibbles),
        ("AWQ", shift_zeros),
        ("W4A16", move_scales),
        ("FP8", move_scales),
        ("INT8", move_scales),
    ],
)
def test_wrongly_written_folder_is_caught(
    target: str, harm: Callable[[Tensors], None], bench: Bench, tmp_path: Path
) -> None:
    """Neither the right weights nor the source are what vLLM then computes with."""
    right = bench.journey.install("llama", target)
    wrong = tmp_path / "wrong"
    shutil.copytree(right, wrong)
    tensors = load(right)
    harm(tensors)
    (wrong / "model.safetensors").unlink()  # it is a link into the vault
    save_file(tensors, wrong / "model.safetensors")
    served = bench.serve("llama", wrong, choose_dtype("llama", target))
    limit = choose_limit("llama", target)
    title = f"llama {target}, {harm.__name__}"
    same = bench.compare(f"{title}, weights", "llama", served, right)
    near = bench.compare(f"{title}, source", "llama", served, bench.journey.source("llama"))
    assert same.divergence > 100 * limit.divergence
    assert same.difference > 10 * limit.difference
    assert near.divergence > 2 * NEAR[target].divergence
