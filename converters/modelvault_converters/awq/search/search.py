"""The two searches of AWQ: scales for the input channels, then ranges for the groups.

Scaling a channel of the weight up, and its activations down, leaves the function alone and
makes that channel's rounding error smaller: it pays for the few channels whose activations
are large. How far to go is searched for each group of linears that share an input. Ranges are
searched by rounding with each, the way the result is rounded.

Source: Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from modelvault_converters.awq.formats.packing import Quantized
from modelvault_converters.awq.search.compensate import Compensator, product_error
from modelvault_converters.awq.search.portions import split_rows

EXPONENTS = tuple(step / 10 for step in range(11))
"""Tried for the scales: 0 leaves the activations alone, 1 makes them all alike."""
REFINED = (0.05, 0.025)
"""Steps to both sides of the best exponent, tried after."""
RANGES = (1.0, 0.95, 0.9, 0.85)
"""Shares of a group's range tried."""

_LEAST = 1e-4
_BLOCK = 1 << 20
"""Weights whose scales are searched together: bounds the memory, and fits a cache."""
ROUNDED = 1 << 22
"""Weights that are rounded together; more are faster, and take more memory."""
_OUTPUTS = 2048
"""Output channels of a group's linears that decide on its scales, all linears together."""
_FEWEST = 64
"""… and of each linear at least."""

Rounder = Callable[[torch.Tensor, torch.Tensor | None], Quantized]
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
    products: torch.Tensor
    """Sums of products within each block of channels, f32 ``[blocks, block, block]``."""
    group: int
    """Channels a quantisation group; divides a block."""

    def scaled(self, scales: torch.Tensor) -> "Inputs":
        """Return the inputs after their channels were divided by ``scales``, ``[in]``."""
        parts = scales.view(len(self.products), -1)
        return Inputs(
            count=self.count,
            magnitude=self.magnitude / scales,
            rows=self.rows / scales,
            products=self.products / parts.unsqueeze(2) / parts.unsqueeze(1),
            group=self.group,
        )

    def squares(self) -> torch.Tensor:
        """Return the sums of products within groups of channels, ``[groups, group, group]``."""
        (blocks, width, _), group = self.products.shape, self.group
        parts = self.products.view(blocks, width // group, group, width // group, group)
        return parts.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).reshape(-1, group, group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Linears that share an input, and what they see."""

    weights: Sequence[torch.Tensor]
    """f32 ``[out, in]`` each."""
    inputs: Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search ended with; errors are those of the outputs that were looked at."""

    scales: torch.Tensor
    """Factors for the input channels, f32 ``[in]``."""
    before: float
    """Squared error of the outputs under plain rounding, relative to the outputs."""
    after: float
    """The same with these factors."""


def search_scales(
    streams: Sequence[Stream],
    rounder: Rounder,
    share: Callable[[torch.Tensor], torch.Tensor],
) -> Found:
    """Return the factors for the input channels that give the least error.

    They are the magnitudes of the activations to some power, or these over the magnitudes of
    the weights to the rest of the power; or all one, if nothing is better.

    Args:
        streams: Whose linears take the same factors.
        rounder: Rounds as the result will be.
        share: Makes channels equal that must have the same factor, ``[in]`` to ``[in]``.
    """
    streams = _sample(streams)
    search = _Search(streams, rounder, share)
    for balanced in (False, True):
        for exponent in EXPONENTS:
            search.attempt(exponent, balanced=balanced)
    for step in REFINED:
        exponent, balanced = search.best
        for tried in (exponent - step, exponent + step):
            search.attempt(tried, balanced=balanced)
    scales = search.scales
    return Found(
        scales=scales,
        before=_measure(streams, rounder, torch.ones_like(scales)),
        after=_measure(streams, rounder, scales),
    )


class _Search:
    """The factors tried so far."""

    def __init__(
        self,
        streams: Sequence[Stream],
        rounder: Rounder,
        share: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self._streams = streams
        self._rounder = rounder
        self._squares = [stream.inputs.squares() for stream in streams]
        total = sum(stream.inputs.count for stream in streams)
        magnitude = torch.zeros_like(streams[0].inputs.magnitude)
        for stream in streams:
            magnitude += stream.inputs.magnitude * (stream.inputs.count / total)
        self._inputs = share(magnitude).clamp(min=_LEAST)
        self._weights = share(self._weigh()).clamp(min=_LEAST)
        self.best = (0.0, False)
        """Exponent, and whether it is shared with the weights."""
        self.scales = torch.ones_like(magnitude)
        self._least = float("inf")

    def attempt(self, exponent: float, *, balanced: bool) -> None:
        """Try an exponent of the activations; weights take the rest if it is balanced."""
        scales = self._inputs**exponent
        if balanced:
            scales = scales / self._weights ** (1 - exponent)
        scales = (scales / (scales.max() * scales.min()).sqrt()).clamp(_LEAST, 1 / _LEAST)
        error = 0.0
        for stream, squares in zip(self._streams, self._squares):
            for part in _parts(stream):
                wrong = self._rounder(part * scales, None).dequantize().div_(scales).sub_(part)
                error += float(product_error(wrong, squares).sum())
        if error < self._least:
            self._least, self.best, self.scales = error, (exponent, balanced), scales

    def _weigh(self) -> torch.Tensor:
        """Return the mean magnitude of each channel's weights, relative to their groups'."""
        total, rows = torch.zeros_like(self._streams[0].inputs.magnitude), 0
        for stream, part in ((each, part) for each in self._streams for part in _parts(each)):
            groups = part.abs().reshape(len(part), -1, stream.inputs.group)
            total += (groups / groups.amax(2, keepdim=True).clamp(min=_LEAST**2)).sum(0).flatten()
            rows += len(part)
        return total / rows


def round_best(weight: torch.Tensor, rounder: Rounder, compensator: Compensator) -> Quantized:
    """Return a weight rounded with the ranges that lose least.

    The weight is rounded with every range, with compensation, and the best is taken for each
    output channel and block of input channels. Plain rounding is among what is compared:
    nothing is worse than it.

    Args:
        weight: f32 ``[out, in]``, scaled.
        rounder: Rounds as the result will be.
        compensator: Knows the inputs, scaled likewise.
    """
    parts = [_round_part(part, rounder, compensator) for part in split_rows(weight, ROUNDED)]
    return Quantized(
        values=torch.cat([part.values for part in parts]),
        scales=torch.cat([part.scales for part in parts]),
        zeros=torch.cat([part.zeros for part in parts]),
    )


def _round_part(weight: torch.Tensor, rounder: Rounder, compensator: Compensator) -> Quantized:
    best = rounder(weight, None)
    least = compensator.error(weight, best.dequantize())
    for share in RANGES:
        grid = rounder(weight, torch.full_like(best.scales, share, dtype=torch.float32))
        found = compensator.round(weight, grid)
        error = compensator.error(weight, found.dequantize())
        better = (error < least).repeat_interleave(best.scales.shape[1] // error.shape[1], dim=1)
        least = torch.minimum(error, least)
        best = Quantized(
            values=torch.where(better.unsqueeze(2), found.values, best.values),
            scales=torch.where(better, found.scales, best.scales),
            zeros=torch.where(better, found.zeros, best.zeros),
        )
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
        """Add some outputs of a linear.

        Args:
            inputs: What it sees.
            weight: f32 ``[out, in]``.
            other: What stands in for the weight, likewise.
            outputs: Factors by which they were divided, ``[out]``, or none.
        """
        portion = inputs.count / len(inputs.rows)
        factors = 1.0 if outputs is None else outputs
        self._size += portion * float((inputs.rows @ weight.T * factors).square().sum())
        self._error += portion * float((inputs.rows @ (other - weight).T * factors).square().sum())


def _sample(streams: Sequence[Stream]) -> list[Stream]:
    """Return streams with some of their output channels, spread evenly."""
    kept = max(_FEWEST, _OUTPUTS // sum(len(stream.weights) for stream in streams))
    return [
        Stream(
            weights=[weight[:: max(1, len(weight) // kept)][:kept] for weight in stream.weights],
            inputs=stream.inputs,
        )
        for stream in streams
    ]


def _measure(streams: Sequence[Stream], rounder: Rounder, scales: torch.Tensor) -> float:
    """Return the error of rounding with some factors, relative to the outputs."""
    error = Error()
    for stream in streams:
        for part in _parts(stream):
            error.add(stream.inputs, part, rounder(part * scales, None).dequantize().div_(scales))
    return error.relative


def _parts(stream: Stream) -> Iterator[torch.Tensor]:
    """Yield the weights of a stream, a few rows at a time."""
    for weight in stream.weights:
        yield from split_rows(weight, _BLOCK)
