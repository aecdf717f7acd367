"""Scale the inputs of a group's linears, and what comes before by the inverse.

The function that a layer computes stays the same, exactly: what comes before is rounded
first to what the checkpoint stores, and the scales are then those that it really takes.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import torch

from modelvault.errors import MalformedWeights
from modelvault_converters.awq.models.families import Fold, Group

Shape = tuple[int, ...]

NORMS = (Fold.NORM, Fold.OFFSET_NORM)
"""Folds into a norm; all others are into a linear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Which input channels of a group must have the same factor."""

    repeats: int = 1
    """Query heads that read one value head."""
    head: int = 1
    """Channels a head."""

    def share(self, values: torch.Tensor) -> torch.Tensor:
        """Return values ``[in]`` with those averaged that belong to one channel before."""
        if self.repeats == 1:
            return values
        heads = values.view(-1, self.repeats, self.head)
        return heads.mean(1, keepdim=True).expand_as(heads).reshape(-1)

    def narrow(self, scales: torch.Tensor) -> torch.Tensor:
        """Return one factor for each channel before, ``[in / repeats]``."""
        return scales.view(-1, self.repeats, self.head)[:, 0].reshape(-1)


def find_sharing(group: Group, shapes: Mapping[str, Shape], heads: int) -> Sharing:
    """Return which channels of a group share their factors, having checked its shapes.

    Args:
        group: Of a layer.
        shapes: ``[out, in]`` of the layer's weights, by name.
        heads: Query heads of the attention.

    Raises:
        MalformedWeights: The shapes do not fit each other.
    """
    width = shapes[f"{group.name}.weight"][1]
    for name in (*group.linears, *group.riders):
        shape = shapes[f"{name}.weight"]
        if len(shape) != 2 or shape[1] != width:
            raise MalformedWeights(f"{name}: {shape} does not read {width} channels")
    before = shapes[f"{group.before}.weight"]
    kept = _kept(group.fold, before[0], width)
    if group.fold not in (Fold.VALUES, Fold.FUSED_VALUES):
        if kept != width or len(before) != (1 if group.fold in NORMS else 2):
            raise MalformedWeights(f"{group.before}: {before} does not feed {width} channels")
        return Sharing()
    head = width // heads
    if not kept or width % heads or kept % head or width % kept:
        raise MalformedWeights(
            f"{group.before}: {before} holds no value heads for {heads} heads of {head}"
        )
    return Sharing(repeats=width // kept, head=head)


def apply_scales(
    state: MutableMapping[str, torch.Tensor],
    group: Group,
    scales: torch.Tensor,
    sharing: Sharing,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Multiply a group's weights with scales, and divide what comes before, in place.

    Args:
        state: f32 tensors of a layer; norms become what ``dtype`` can hold.
        group: Of the layer.
        scales: Wanted, f32 ``[in]``.
        sharing: Of the group.
        dtype: That norms are stored in.

    Returns:
        The scales that were applied, f32 ``[in]``.
    """
    before = state[f"{group.before}.weight"]
    if group.fold in NORMS:
        scales = _divide_norm(before, scales, group.fold is Fold.OFFSET_NORM, dtype)
    else:
        rows = slice(len(before) - _kept(group.fold, len(before), len(scales)), None)
        factors = sharing.narrow(scales)
        before[rows] /= factors.unsqueeze(1)
        bias = state.get(f"{group.before}.bias")
        if bias is not None:
            bias[rows] /= factors
    for name in (*group.linears, *group.riders):
        state[f"{name}.weight"] *= scales
    return scales


def _divide_norm(
    weight: torch.Tensor, scales: torch.Tensor, offset: bool, dtype: torch.dtype
) -> torch.Tensor:
    """Divide a norm in place; return the factors by which it became smaller."""
    shift = 1.0 if offset else 0.0
    whole = weight + shift
    stored = (whole / scales - shift).to(dtype).float()
    lost = (stored + shift == 0) | ~torch.isfinite(stored)
    stored = torch.where(lost, weight.to(dtype).float(), stored)
    left = stored + shift
    taken = torch.where(left == 0, 1.0, whole / left)
    weight.copy_(stored)
    return taken


def _kept(fold: Fold, rows: int, width: int) -> int:
    """Return how many of the last rows of what comes before take the scales."""
    if fold is Fold.FUSED_VALUES:
        return (rows - width) // 2
    return rows // 2 if fold is Fold.FUSED_UP else rows
