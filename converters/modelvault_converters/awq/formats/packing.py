"""4-bit weights: rounding in groups, and the two layouts that servers read.

A group is a run of input channels of one output channel. With a zero point, its range always
holds zero, so that zero stays zero and the zero point fits four bits; without, the range is
symmetric. Scales become 16-bit before anything is rounded with them, for a server computes
with the 16-bit value.

Source:
    https://docs.vllm.ai (AWQ, ``version: gemm``); Lin et al., arXiv 2306.00978
    https://github.com/vllm-project/compressed-tensors (pack-quantized)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from modelvault.errors import MalformedWeights

LEVELS = 15
PACKED = 8
"""Values in an int32."""
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Column that each nibble holds, from the lowest bits on."""

IN_TURN = (0, 1, 2, 3, 4, 5, 6, 7)
"""The same of pack-quantized."""

_MIDDLE = 8
_SMALLEST_SCALE = 2.0**-24
"""Smallest positive f16; groups of zeros use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A linear's weight in four bits."""

    values: torch.Tensor
    """uint8 ``[out, groups, group]``, 0 … 15."""
    scales: torch.Tensor
    """f16 or bf16 ``[out, groups]``."""
    zeros: torch.Tensor
    """uint8 ``[out, groups]``, 0 … 15; 8 everywhere where the range is symmetric."""

    def dequantize(self) -> torch.Tensor:
        """Return the weight that a server computes with, f32 ``[out, in]``."""
        centred = self.values.float().sub_(self.zeros.float().unsqueeze(-1))
        return centred.mul_(self.scales.float().unsqueeze(-1)).flatten(1)

    def split(self, rows: int) -> "Iterator[Quantized]":
        """Yield the weight as views of so many output channels each."""
        parts = (self.values, self.scales, self.zeros)
        for values, scales, zeros in zip(*(torch.split(part, rows) for part in parts)):
            yield Quantized(values=values, scales=scales, zeros=zeros)


def quantize(
    weight: torch.Tensor,
    group: int,
    shrink: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float16,
) -> Quantized:
    """Return a weight rounded to four bits, with zero points.

    Args:
        weight: f32 ``[out, in]``.
        group: Input channels a group; divides ``in``.
        shrink: Factors on the groups' ranges, ``[out, groups]``; what lies outside is clipped.
        dtype: Of the scales.

    Raises:
        MalformedWeights: The scales do not fit f16.
    """
    parts = weight.reshape(weight.shape[0], -1, group)
    low = parts.amin(dim=-1).clamp(max=0)
    high = parts.amax(dim=-1).clamp(min=0)
    if shrink is not None:
        low, high = low * shrink, high * shrink
    scales = _store((high - low) / LEVELS, dtype)
    steps = scales.float()
    zeros = (-low / steps).round().clamp(0, LEVELS)
    values = (parts / steps.unsqueeze(-1)).round_().add_(zeros.unsqueeze(-1)).clamp_(0, LEVELS)
    return Quantized(values=values.byte(), scales=scales, zeros=zeros.byte())


def quantize_symmetric(
    weight: torch.Tensor,
    group: int,
    shrink: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float16,
) -> Quantized:
    """Return a weight rounded to four bits, -8 … 7 steps; arguments as for ``quantize``.

    The largest magnitude lies at seven and a half steps, in the middle of what is left over
    below -7 and of what is missing above 7: nothing errs by more than half a step.

    Raises:
        MalformedWeights: The scales do not fit f16.
    """
    parts = weight.reshape(weight.shape[0], -1, group)
    reach = parts.abs().amax(dim=-1)
    if shrink is not None:
        reach = reach * shrink
    scales = _store(reach * 2 / LEVELS, dtype)
    values = (parts / scales.float().unsqueeze(-1)).round_().add_(_MIDDLE).clamp_(0, LEVELS)
    zeros = torch.full_like(scales, _MIDDLE, dtype=torch.uint8)
    return Quantized(values=values.byte(), scales=scales, zeros=zeros)


def pack(values: torch.Tensor, order: tuple[int, ...] = ORDER) -> torch.Tensor:
    """Return values of four bits packed along the columns.

    Args:
        values: uint8 ``[rows, columns]``; columns are a multiple of 8.
        order: Column of eight that each nibble takes, from the lowest bits on.

    Returns:
        int32 ``[rows, columns / 8]``.
    """
    parts = values.reshape(values.shape[0], -1, PACKED)
    packed = torch.zeros(parts.shape[:2], dtype=torch.int32, device=values.device)
    for nibble, column in enumerate(order):
        packed |= parts[..., column].int() << (4 * nibble)
    return packed


def unpack(packed: torch.Tensor, order: tuple[int, ...] = ORDER) -> torch.Tensor:
    """Return what ``pack`` was given, uint8 ``[rows, columns]``."""
    values = torch.empty((*packed.shape, PACKED), dtype=torch.uint8, device=packed.device)
    for nibble, column in enumerate(order):
        values[..., column] = ((packed >> (4 * nibble)) & LEVELS).byte()
    return values.flatten(1)


def encode(quantized: Quantized) -> dict[str, torch.Tensor]:
    """Return the tensors of an AWQ checkpoint.

    Returns:
        ``qweight`` int32 ``[in, out / 8]``, ``qzeros`` int32 ``[groups, out / 8]``,
        ``scales`` f16 ``[groups, out]``.
    """
    return {
        "qweight": pack(quantized.values.flatten(1).T),
        "qzeros": pack(quantized.zeros.T),
        "scales": quantized.scales.T.contiguous(),
    }


def decode(qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the weight that AWQ's tensors stand for, f32 ``[out, in]``."""
    values = unpack(qweight).T
    group = values.shape[1] // scales.shape[0]
    return Quantized(
        values=values.reshape(values.shape[0], -1, group), scales=scales.T, zeros=unpack(qzeros).T
    ).dequantize()


def encode_symmetric(quantized: Quantized) -> dict[str, torch.Tensor]:
    """Return the tensors of a pack-quantized checkpoint.

    Returns:
        ``weight_packed`` int32 ``[out, in / 8]``, ``weight_scale`` ``[out, groups]`` and
        ``weight_shape``, int64 ``[2]``: out and in.
    """
    values = quantized.values.flatten(1)
    return {
        "weight_packed": pack(values, IN_TURN),
        "weight_scale": quantized.scales,
        "weight_shape": torch.tensor(values.shape, dtype=torch.int64),
    }


def decode_symmetric(packed: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the weight that pack-quantized tensors stand for, f32 ``[out, in]``."""
    values = unpack(packed, IN_TURN).reshape(*scales.shape, -1)
    zeros = torch.full_like(scales, _MIDDLE, dtype=torch.uint8)
    return Quantized(values=values, scales=scales, zeros=zeros).dequantize()


def _store(scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    stored = scales.clamp(min=_SMALLEST_SCALE).to(dtype)
    if not bool(torch.isfinite(stored).all()):
        way_out = "--to w4a16 or --to fp8" if dtype == torch.float16 else "--to fp8"
        raise MalformedWeights(
            f"a weight is too large for {str(dtype).removeprefix('torch.')}",
            hint=f"{way_out} takes it",
        )
    return stored
