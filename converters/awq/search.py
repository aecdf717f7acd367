"""The two searches of AWQ: scales for the input channels, then ranges for the groups.

Scaling a channel of the weight up, and its activations down, leaves the function alone and
makes that channel's rounding error smaller: it pays for the few channels whose activations
are large. How far to go is searched for each group of linears that share an input.

Source: Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from converters.awq.packing import quantize

GRID = 20
"""Exponents tried for the scales, from 0 (plain rounding) to 1."""
RANGES = tuple(1 - step / 20 for step in range(10))
"""Shares of a group's range tried."""

_LEAST = 1e-4
_ROWS = 512
"""Output channels whose ranges are searched together: bounds the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What calibration saw enter a group of linears."""

    magnitude: torch.Tensor
    """Mean magnitude of each channel, f32 ``[in]``."""
    rows: torch.Tensor
    """Some of the inputs themselves, f32 ``[rows, in]``."""
    squares: torch.Tensor
    """Sums of products within each group of channels, f32 ``[groups, group, group]``."""

    def scaled(self, scales: torch.Tensor) -> "Inputs":
        """Return the inputs after their channels were divided by ``scales``, ``[in]``."""
        parts = scales.view(self.squares.shape[0], -1)
        return Inputs(
            magnitude=self.magnitude / scales,
            rows=self.rows / scales,
            squares=self.squares / (parts.unsqueeze(2) * parts.unsqueeze(1)),
        )


def output_error(inputs: torch.Tensor, weight: torch.Tensor, other: torch.Tensor) -> float:
    """Return the squared error of a linear's output, summed.

    Args:
        inputs: f32 ``[rows, in]``.
        weight: f32 ``[out, in]``.
        other: What stands in for the weight, likewise.
    """
    return float((inputs @ (other - weight).T).square().sum())


def search_scales(
    weights: Sequence[torch.Tensor],
    inputs: Inputs,
    group: int,
    share: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the factors for the input channels, f32 ``[in]``, that give the least error.

    Args:
        weights: Of the linears that share the input, f32 ``[out, in]`` each.
        inputs: What they see.
        group: Channels a quantisation group.
        share: Makes channels equal that must have the same factor, ``[in]`` to ``[in]``.
    """
    magnitude = share(inputs.magnitude).clamp(min=_LEAST)
    best, least = torch.ones_like(magnitude), float("inf")
    for alpha in torch.linspace(0, 1, GRID).tolist():
        scales = magnitude**alpha
        scales = (scales / (scales.max() * scales.min()).sqrt()).clamp(_LEAST, 1 / _LEAST)
        error = sum(
            output_error(
                inputs.rows, weight, quantize(weight * scales, group).dequantize() / scales
            )
            for weight in weights
        )
        if error < least:
            best, least = scales, error
    return best


def search_ranges(weight: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    """Return the share of each group's range to keep, f32 ``[out, groups]``.

    Args:
        weight: f32 ``[out, in]``, scaled.
        inputs: What it sees, scaled likewise.
    """
    return torch.cat(
        [
            _search_rows(weight[start : start + _ROWS], inputs.squares)
            for start in range(0, len(weight), _ROWS)
        ]
    )


def _search_rows(weight: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    group = squares.shape[-1]
    best = torch.ones((weight.shape[0], squares.shape[0]))
    least = torch.full_like(best, float("inf"))
    for share in RANGES:
        rounded = quantize(weight, group, torch.full_like(best, share)).dequantize()
        wrong = (rounded - weight).reshape(len(weight), -1, group).transpose(0, 1)
        error = (torch.bmm(wrong, squares) * wrong).sum(-1).T
        better = error < least
        best = torch.where(better, share, best)
        least = torch.where(better, error, least)
    return best
