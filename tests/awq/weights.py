"""Weights as servers compute with them, for comparison with a source."""

from contextlib import ExitStack
from pathlib import Path

import torch

from modelvault_converters.awq.formats.packing import decode, quantize
from tests.awq.models import open_model
from tests.support.trainedmodel import load

Tensors = dict[str, torch.Tensor]

TEXT = (
    "Nobody carries a letter across the border without showing it twice. 금고의 열쇠는 두 사람이 "
    "나누어 가지고 있습니다. Water boils sooner on the mountain."
)
"""Text to compare predictions on."""


def dequantize(folder: Path) -> Tensors:
    """Return the weights that a server computes with."""
    tensors = load(folder)
    for name in [name for name in tensors if name.endswith(".qweight")]:
        linear = name.removesuffix(".qweight")
        parts = [tensors.pop(f"{linear}.{part}") for part in ("qweight", "qzeros", "scales")]
        tensors[f"{linear}.weight"] = decode(*parts)
    return tensors


def plainly(folder: Path, group_size: int = 128) -> Tensors:
    """Return a source's weights, each linear of a layer rounded to the nearest."""
    with ExitStack() as stack:
        linears = set(open_model(folder, stack).linears())
    return {
        name: quantize(value.float(), group_size).dequantize() if name in linears else value
        for name, value in load(folder).items()
    }
