"""The two searches of AWQ: scales for the input channels, then ranges for the groups.

Scaling a channel of the weight up, and its activations down, leaves the function alone and
makes that channel's rounding error smaller: it pays for the few channels whose activations
are large. How far to go is searched for each group of linears that share an input.

Source: Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

GRID = 20
"""Exponents tried for the scales, from 0 (plain rounding) to 1."""
RANGES = tuple(1 - step / 20 for step in range(10))
"""Shares of a group's range tried."""

_LEAST = 1e-4
_BLOCK = 1 << 20
"""Weights that are searched together: bounds the memory, and fits a cache."""


class Rounding(Protocol):
    """A rounded weight."""

    def dequantize(self) -> torch.Tensor:
        """Return the weight that a server computes with, f32 ``[out, in]``."""


R = TypeVar("R", bound=Rounding)
Rounder = Callable[[torch.Tensor, torch.Tensor | None], R]
"""Rounds f32 ``[out, in]``, with factors ``[out, groups]`` on the groups' ranges or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What calibration saw enter linears that share an input."""

    count: int
    """Inputs seen."""
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
            count=self.count,
            magnitude=self.magnitude / scales,
            rows=self.rows / scales,
            squares=self.squares / (parts.unsqueeze(2) * parts.unsqueeze(1)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Linears that share an input, and what they see."""

    weights: Sequence[torch.Tensor]
    """f32 ``[out, in]`` each."""
    inputs: Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search ended with."""

    scales: torch.Tensor
    """Factors for the input channels, f32 ``[in]``."""
    before: float
    """Squared error of the outputs under plain rounding, relative to the outputs."""
    after: float
    """The same with these factors."""


def search_scales(
    streams: Sequence[Stream],
    rounder: Rounder[Any],
    share: Callable[[torch.Tensor], torch.Tensor],
) -> Found:
    """Return the factors for the input channels that give the least error.

    Args:
        streams: Whose linears take the same factors.
        rounder: Rounds as the result will be.
        share: Makes channels equal that must have the same factor, ``[in]`` to ``[in]``.
    """
    total = sum(stream.inputs.count for stream in streams)
    magnitude = torch.zeros_like(streams[0].inputs.magnitude)
    for stream in streams:
        magnitude += stream.inputs.magnitude * (stream.inputs.count / total)
    grid = list(_candidates(share(magnitude)))
    errors = torch.zeros(len(grid), dtype=torch.float64, device=grid[0].device)
    size = 0.0
    for stream in streams:
        rows = stream.inputs.rows
        portion = stream.inputs.count / len(rows)
        for block in (part for weight in stream.weights for part in _blocks(weight)):
            size += portion * float((rows @ block.T).square().sum())
            for number, scales in enumerate(grid):
                wrong = rounder(block * scales, None).dequantize().div_(scales).sub_(block)
                errors[number] += portion * (rows @ wrong.T).square().sum()
    errors /= max(size, 1e-30)
    best = int(errors.argmin())
    return Found(scales=grid[best], before=float(errors[0]), after=float(errors[best]))


def _candidates(magnitude: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the factors to try, f32 ``[in]``; the first are all one."""
    for step in range(GRID):
        scales = magnitude.clamp(min=_LEAST) ** (step / (GRID - 1))
        yield (scales / (scales.max() * scales.min()).sqrt()).clamp(_LEAST, 1 / _LEAST)


def search_ranges(weight: torch.Tensor, inputs: Inputs, rounder: Rounder[Any]) -> torch.Tensor:
    """Return the share of each group's range to keep, f32 ``[out, groups]``.

    Args:
        weight: f32 ``[out, in]``, scaled.
        inputs: What it sees, scaled likewise.
        rounder: Rounds as the result will be.
    """
    return torch.cat([_search_rows(part, inputs.squares, rounder) for part in _blocks(weight)])


def _search_rows(
    weight: torch.Tensor, squares: torch.Tensor, rounder: Rounder[Any]
) -> torch.Tensor:
    group = squares.shape[-1]
    best = weight.new_ones((weight.shape[0], squares.shape[0]))
    least = torch.full_like(best, float("inf"))
    for share in RANGES:
        rounded = rounder(weight, torch.full_like(best, share)).dequantize()
        wrong = (rounded - weight).reshape(len(weight), -1, group).transpose(0, 1)
        error = (torch.bmm(wrong, squares) * wrong).sum(-1).T
        better = error < least
        best = torch.where(better, share, best)
        least = torch.where(better, error, least)
    return best


class Error:
    """Squared error of the outputs of some linears, as it adds up."""

    def __init__(self) -> None:
        """Start from nothing."""
        self._error = self._size = 0.0

    @property
    def relative(self) -> float:
        """The error relative to the outputs."""
        return self._error / max(self._size, 1e-30)

    def add(
        self,
        inputs: Inputs,
        weight: torch.Tensor,
        other: torch.Tensor,
        outputs: torch.Tensor | None = None,
    ) -> None:
        """Add one linear.

        Args:
            inputs: What it sees.
            weight: f32 ``[out, in]``.
            other: What stands in for the weight, likewise.
            outputs: Factors by which its outputs were divided, the last ones, or none.
        """
        factors = weight.new_ones(len(weight))
        if outputs is not None:
            factors[len(weight) - len(outputs) :] = outputs
        portion = inputs.count / len(inputs.rows)
        parts = _blocks(weight)
        for part, rounded, factor in zip(
            parts, _blocks(other), torch.split(factors, len(parts[0]))
        ):
            self._size += portion * float((inputs.rows @ part.T * factor).square().sum())
            self._error += portion * float(
                (inputs.rows @ (rounded - part).T * factor).square().sum()
            )


def _blocks(weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return a weight as views of its rows, a few at a time."""
    return torch.split(weight, max(1, _BLOCK // weight.shape[1]))
