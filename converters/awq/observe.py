"""Note what enters the linears of a layer while calibration sequences pass through it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from converters.awq.families import Group, is_expert
from converters.awq.layers import watching
from converters.awq.search import Inputs

_ROWS = 1024
"""Inputs kept of each stream, spread evenly over the sequences."""
_FEWEST = 64
"""… of an expert's, where experts are many."""
_BUDGET = 128 * 1024 * 1024
"""Bytes of inputs kept of all experts together, as long as each has the fewest."""


class Observer:
    """Sums over all inputs of each stream, and a few of the inputs themselves."""

    def __init__(self, groups: Sequence[Group], sequences: int, group_size: int) -> None:
        """Prepare for a number of sequences.

        Args:
            groups: Of the layer.
            sequences: How many will pass.
            group_size: Channels a quantisation group.
        """
        names = [stream[0] for group in groups for stream in group.streams]
        self._sequences = sequences
        self._experts = sum(group.expert for group in groups)
        self._seen = {name: _Seen(group_size) for name in names}

    @contextmanager
    def watching(self, layer: torch.nn.Module) -> Iterator[None]:
        """Watch the layer's linears within the block."""
        with watching(layer, {name: partial(self._see, name) for name in self._seen}):
            yield

    def inputs(self) -> dict[str, Inputs]:
        """Return what was seen, by the first linear of each stream; unseen ones are missing."""
        return {name: seen.inputs() for name, seen in self._seen.items() if seen.count}

    def _see(self, name: str, values: torch.Tensor) -> None:
        """Take in the inputs of one sequence, f32 ``[tokens, in]``."""
        kept = _ROWS
        if is_expert(name):
            kept = min(_ROWS, max(_FEWEST, _BUDGET // (8 * values.shape[1] * self._experts)))
        self._seen[name].add(values, kept, -(-kept // self._sequences))


class _Seen:
    """What one stream has seen so far."""

    def __init__(self, group_size: int) -> None:
        self.count = 0
        self._size = group_size
        self._magnitude = self._squares = torch.empty(0)
        self._rows: list[torch.Tensor] = []
        self._kept = 0

    def add(self, values: torch.Tensor, kept: int, share: int) -> None:
        """Take in some inputs.

        Args:
            values: f32 ``[tokens, in]``.
            kept: Of all inputs that are kept at most.
            share: Of these inputs that are kept at most.
        """
        parts = values.reshape(len(values), -1, self._size).transpose(0, 1)
        magnitude, squares = values.abs().sum(0), torch.bmm(parts.transpose(1, 2), parts)
        if self.count:
            self._magnitude += magnitude
            self._squares += squares
        else:
            self._magnitude, self._squares = magnitude, squares
        self.count += len(values)
        step = max(1, len(values) // share)
        rows = values[::step][: min(share, kept - self._kept)]
        self._rows.append(rows.clone())
        self._kept += len(rows)

    def inputs(self) -> Inputs:
        """Return the sums as means, and the inputs that were kept."""
        return Inputs(
            count=self.count,
            magnitude=self._magnitude / self.count,
            rows=torch.cat(self._rows),
            squares=self._squares,
        )
