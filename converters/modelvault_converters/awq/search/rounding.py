"""Round one layer in place: plainly, for comparison, or the AWQ way.

Everything happens in the tensors given: a layer is never held twice. What was there before
is read again from the checkpoint.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch

from modelvault_converters.awq.formats.packing import Quantized
from modelvault_converters.awq.heap import give_back
from modelvault_converters.awq.models.families import Group, is_expert
from modelvault_converters.awq.search.compensate import Compensator
from modelvault_converters.awq.search.folds import NORMS, apply_scales, find_sharing
from modelvault_converters.awq.search.portions import rows_at_once, split_rows
from modelvault_converters.awq.search.search import (
    Error,
    Inputs,
    Rounder,
    Stream,
    round_best,
    search_scales,
)

State = dict[str, torch.Tensor]

FEWEST = 16
"""Inputs below which an expert is rounded plainly: so few tell nothing of the rest."""

_BLOCK = 1 << 20
"""Weights that are rounded plainly together: bounds the memory, and fits a cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is the same for every layer of a model."""

    rounder: Rounder
    """Rounds f32 ``[out, in]`` as the result will be."""
    heads: int
    """Query heads of the attention."""
    dtype: torch.dtype = torch.float16
    """Type of what is not rounded to four bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a layer's search."""

    text: str
    """What was done."""
    before: float
    """Error before, relative to the outputs."""
    after: float


@dataclass(slots=True, kw_only=True)
class Rounded:
    """A layer after AWQ; its tensors are what a server computes with."""

    linears: dict[str, Quantized] = field(default_factory=dict)
    """By the linear's name within the layer."""
    plain_error: float = 0.0
    """Squared error of the linears' outputs under plain rounding, relative to the outputs,
    the mean of all groups that calibration reached."""
    error: float = 0.0
    """The same of this result."""
    unreached: tuple[str, ...] = ()
    """Groups of experts that too few tokens reached; they were rounded plainly."""


def round_plainly(state: State, groups: Sequence[Group], rounder: Rounder) -> None:
    """Round a layer's linears to the nearest, in place.

    Args:
        state: f32 tensors by their name within the layer.
        groups: Of the layer.
        rounder: Rounds f32 ``[out, in]``.
    """
    for name in chain.from_iterable(group.linears for group in groups):
        weight = state[f"{name}.weight"]
        for part in split_rows(weight, _BLOCK):
            part.copy_(rounder(part, None).dequantize())


def round_awq(
    state: State,
    inputs: Mapping[str, Inputs],
    groups: Sequence[Group],
    settings: Settings,
) -> Generator[Step, None, Rounded]:
    """Scale, fold, clip and round a layer, in place; return its linears in four bits.

    Args:
        state: f32 tensors by their name within the layer.
        inputs: What calibration saw, by the first linear of each stream.
        groups: Of the layer.
        settings: Of the model.

    Yields:
        Each step that was done.

    Raises:
        MalformedWeights: Shapes do not fit each other, or a weight does not fit f16.
    """
    layer = _Layer(state, inputs, groups, settings)
    for group in groups:
        yield from layer.scale(group)
    for group in groups:
        yield from layer.round(group)
        give_back()
    layer.settle()
    return layer.result


class _Layer:
    """One layer on its way; scales of all groups first, as folds change what is rounded."""

    def __init__(
        self,
        state: State,
        inputs: Mapping[str, Inputs],
        groups: Sequence[Group],
        settings: Settings,
    ) -> None:
        self.result: Rounded = Rounded()
        self._state = state
        self._inputs = inputs
        self._groups = groups
        self._settings = settings
        self._scales: dict[str, torch.Tensor] = {}
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}
        self._folded: dict[str, torch.Tensor] = {}

    def scale(self, group: Group) -> Iterator[Step]:
        """Search a group's scales and fold them; yield that."""
        state, settings = self._state, self._settings
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        sharing = find_sharing(group, shapes, settings.heads)
        streams = [
            Stream(weights=[state[f"{name}.weight"] for name in names], inputs=seen)
            for names in group.streams
            if (seen := self._seen(names))
        ]
        if not streams:
            self.result.unreached += (group.name,)
            return
        found = search_scales(streams, settings.rounder, sharing.share)
        scales = apply_scales(state, group, found.scales, sharing, settings.dtype)
        self._scales[group.name] = scales
        self._before[group.name], self._after[group.name] = found.before, found.after
        if group.fold not in NORMS:
            self._folded[group.before] = sharing.narrow(scales)
        yield Step(text=f"scales of {_spell(group)}", before=found.before, after=found.after)

    def round(self, group: Group) -> Iterator[Step]:
        """Search the ranges of a group's linears and round them; yield that."""
        error = Error()
        for names in group.streams:
            seen = self._seen(names)
            seen = seen.scaled(self._scales[group.name]) if seen else None
            compensator = Compensator(seen.products) if seen else None
            for name in names:
                rounded = self._round(name, compensator)
                self._replace(name, rounded, seen, error)
                self.result.linears[name] = rounded
        if group.name in self._scales:
            yield Step(
                text=f"ranges of {_spell(group)}",
                before=self._after[group.name],
                after=error.relative,
            )
            self.result.error += error.relative / len(self._scales)
            self.result.plain_error += self._before[group.name] / len(self._scales)

    def _replace(self, name: str, rounded: Quantized, seen: Inputs | None, error: Error) -> None:
        """Put what was rounded in the place of a weight, adding to the error."""
        weight = self._state[f"{name}.weight"]
        factors = weight.new_ones(len(weight))
        if (folded := self._folded.get(name)) is not None:
            factors[len(weight) - len(folded) :] = folded
        rows = rows_at_once(weight, _BLOCK)
        for part, piece, factor in zip(
            torch.split(weight, rows), rounded.split(rows), torch.split(factors, rows)
        ):
            values = piece.dequantize()
            if seen:
                error.add(seen, part, values, factor)
            part.copy_(values)

    def settle(self) -> None:
        """Give what is not in four bits the precision that the checkpoint holds."""
        for name, value in self._state.items():
            if name.removesuffix(".weight") not in self.result.linears:
                value.copy_(value.to(self._settings.dtype))

    def _seen(self, names: tuple[str, ...]) -> Inputs | None:
        """Return what linears saw, if it is enough to search with."""
        seen = self._inputs.get(names[0])
        few = seen is None or (is_expert(names[0]) and seen.count < FEWEST)
        return None if few else seen

    def _round(self, name: str, compensator: Compensator | None) -> Quantized:
        weight, rounder = self._state[f"{name}.weight"], self._settings.rounder
        return round_best(weight, rounder, compensator) if compensator else rounder(weight, None)


def _spell(group: Group) -> str:
    """Return a group's linears for a message."""
    if len(group.streams) > 1:
        return f"{len(group.streams)} experts' {', '.join(_last(n) for n in group.streams[0])}"
    prefix = f"expert {group.name.split('.')[-2]}'s " if group.expert else ""
    return prefix + ", ".join(_last(name) for name in group.linears)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
