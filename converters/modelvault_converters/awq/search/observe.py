"""Note what enters the linears of a layer while calibration sequences pass through it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from modelvault.errors import MalformedWeights
from modelvault_converters.awq.models.families import Group, is_expert
from modelvault_converters.awq.models.layers import watching
from modelvault_converters.awq.search.search import Inputs

_ROWS = 256
"""Inputs kept of each stream, spread evenly over the sequences."""
_FEWEST = 64
"""… of an expert's, where experts are many."""
_WHOLE = 1024
"""Channels up to which all products are summed …"""
_BLOCK = 512
"""… and beyond which only those within blocks of so many at most."""
_BUDGET = 128 * 1024 * 1024
"""Bytes of all experts' inputs together, and of their sums, as long as each has the fewest
inputs, and sums within its groups."""


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
        self._experts = sum(map(is_expert, names))
        self._group = group_size
        self._seen = {name: _Seen(group_size) for name in names}

    @contextmanager
    def watching(self, layer: torch.nn.Module) -> Iterator[None]:
        """Watch the layer's linears within the block."""
        with watching(layer, {name: partial(self._see, name) for name in self._seen}):
            yield

    def inputs(self) -> dict[str, Inputs]:
        """Return what was seen, by the first linear of each stream; unseen ones are missing.

        Raises:
            MalformedWeights: Some of it is not finite.
        """
        return {name: seen.inputs(name) for name, seen in self._seen.items() if seen.count}

    def _see(self, name: str, values: torch.Tensor) -> None:
        """Take in the inputs of one sequence, f32 ``[tokens, in]``."""
        experts = self._experts if is_expert(name) else 0
        kept, block = choose_extent(values.shape[1], self._group, experts)
        self._seen[name].add(values, block, kept, -(-kept // self._sequences))


def choose_extent(width: int, group: int, experts: int = 0) -> tuple[int, int]:
    """Return how many inputs of a stream are kept, and the channels of a block of products.

    Args:
        width: Channels of the inputs.
        group: Channels a quantisation group.
        experts: Streams of experts in the layer, where it is one of them.
    """
    kept, most = _ROWS, width if width <= _WHOLE else _BLOCK
    if experts:
        share = _BUDGET // (4 * width * experts)
        kept, most = min(kept, max(_FEWEST, share)), min(most, share)
    return kept, find_block(width, group, most)


class _Seen:
    """What one stream has seen so far."""

    def __init__(self, group_size: int) -> None:
        self.count = 0
        self._group = group_size
        self._magnitude = self._products = self._rows = torch.empty(0)
        self._kept = 0

    def add(self, values: torch.Tensor, block: int, kept: int, share: int) -> None:
        """Take in some inputs.

        Args:
            values: f32 ``[tokens, in]``.
            block: Channels whose products are summed, all with all.
            kept: Of all inputs that are kept at most.
            share: Of these inputs that are kept at most.
        """
        parts = values.reshape(len(values), -1, block).transpose(0, 1)
        magnitude = values.abs().sum(0)
        if self.count:
            self._magnitude += magnitude
            self._products.baddbmm_(parts.transpose(1, 2), parts)
        else:
            self._magnitude = magnitude
            self._products = torch.bmm(parts.transpose(1, 2), parts)
            # at once: small pieces that outlive a sequence would scatter what is free
            self._rows = values.new_empty((kept, values.shape[1]))
        self.count += len(values)
        step = max(1, len(values) // share)
        rows = values[::step][: min(share, kept - self._kept)]
        self._rows[self._kept : self._kept + len(rows)] = rows
        self._kept += len(rows)

    def inputs(self, name: str) -> Inputs:
        """Return the sums as means, and the inputs that were kept, of the linear ``name``."""
        if not bool(torch.isfinite(self._products).all()):
            raise MalformedWeights(
                f"what the calibration text sends to {name} is not finite",
                hint="configuration or weights are broken: compare them with those on the Hub",
            )
        return Inputs(
            count=self.count,
            magnitude=self._magnitude / self.count,
            rows=self._rows[: self._kept],
            products=self._products,
            group=self._group,
        )


def find_block(width: int, group: int, most: int) -> int:
    """Return the largest number of channels, of whole groups, that divides a width.

    Args:
        width: Channels of a linear's inputs; groups divide it.
        group: Channels a quantisation group.
        most: Channels that a block has at most, unless a group has more.
    """
    groups = width // group
    fit = (count for count in range(1, groups + 1) if groups % count == 0 and count * group <= most)
    return group * max(fit, default=1)
