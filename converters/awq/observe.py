"""Note what enters the linears of a layer while calibration sequences pass through it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from converters.awq.layers import watching
from converters.awq.search import Inputs

GROUPS: dict[str, tuple[str, ...]] = {
    "self_attn.q_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}
"""Linears that share an input, by the first of them."""

_ROWS = 1024
"""Inputs kept of each group, spread evenly over the sequences."""


class Observer:
    """Sums over all inputs of each group, and a few of the inputs themselves."""

    def __init__(self, sequences: int, group: int) -> None:
        """Prepare for a number of sequences.

        Args:
            sequences: How many will pass.
            group: Channels a quantisation group.
        """
        self._share = -(-_ROWS // sequences)
        self._group = group
        self._seen: dict[str, int] = dict.fromkeys(GROUPS, 0)
        self._magnitudes: dict[str, torch.Tensor] = {}
        self._squares: dict[str, torch.Tensor] = {}
        self._rows: dict[str, list[torch.Tensor]] = {name: [] for name in GROUPS}

    @contextmanager
    def watching(self, layer: torch.nn.Module) -> Iterator[None]:
        """Watch the layer's linears within the block."""
        with watching(layer, {name: partial(self._see, name) for name in GROUPS}):
            yield

    def inputs(self) -> dict[str, Inputs]:
        """Return what was seen, by the first linear of each group."""
        return {
            name: Inputs(
                magnitude=self._magnitudes[name] / self._seen[name],
                rows=torch.cat(self._rows[name]),
                squares=self._squares[name],
            )
            for name in GROUPS
        }

    def _see(self, name: str, values: torch.Tensor) -> None:
        """Take in the inputs of one sequence, f32 ``[length, in]``."""
        parts = values.reshape(len(values), -1, self._group).transpose(0, 1)
        magnitude, squares = values.abs().sum(0), torch.bmm(parts.transpose(1, 2), parts)
        if self._seen[name]:
            self._magnitudes[name] += magnitude
            self._squares[name] += squares
        else:
            self._magnitudes[name], self._squares[name] = magnitude, squares
        self._seen[name] += len(values)
        step = max(1, len(values) // self._share)
        self._rows[name].append(values[::step][: self._share].clone())
