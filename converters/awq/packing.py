"""4-bit weights with zero points: rounding in groups, and the layout that servers read.

A group is a run of input channels of one output channel. Its range always holds zero, so
that zero stays zero and the zero point fits four bits; scales are rounded to f16 before
anything is rounded with them, for a server computes with the f16 value.

Source: https://docs.vllm.ai (AWQ, ``version: gemm``); Lin et al., arXiv 2306.00978
"""

from dataclasses import dataclass

import torch

from modelvault.errors import MalformedWeights

LEVELS = 15
PACKED = 8
"""Values in an int32."""
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Column that each nibble holds, from the lowest bits on."""

_SMALLEST_SCALE = 2.0**-24
"""Smallest positive f16; groups of zeros use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A linear's weight in four bits."""

    values: torch.Tensor
    """uint8 ``[out, groups, group]``, 0 … 15."""
    scales: torch.Tensor
    """f16 ``[out, groups]``."""
    zeros: torch.Tensor
    """uint8 ``[out, groups]``, 0 … 15."""

    def dequantize(self) -> torch.Tensor:
        """Return the weight that a server computes with, f32 ``[out, in]``."""
        centred = self.values.float() - self.zeros.float().unsqueeze(-1)
        return (centred * self.scales.float().unsqueeze(-1)).flatten(1)


def quantize(weight: torch.Tensor, group: int, shrink: torch.Tensor | None = None) -> Quantized:
    """Return a weight rounded to four bits.

    Args:
        weight: f32 ``[out, in]``.
        group: Input channels a group; divides ``in``.
        shrink: Factors on the groups' ranges, ``[out, groups]``; what lies outside is clipped.

    Raises:
        MalformedWeights: The scales do not fit f16.
    """
    parts = weight.reshape(weight.shape[0], -1, group)
    low = parts.amin(dim=-1).clamp(max=0)
    high = parts.amax(dim=-1).clamp(min=0)
    if shrink is not None:
        low, high = low * shrink, high * shrink
    scales = ((high - low) / LEVELS).clamp(min=_SMALLEST_SCALE).half()
    if not bool(torch.isfinite(scales).all()):
        raise MalformedWeights("a weight is too large for f16")
    steps = scales.float()
    zeros = (-low / steps).round().clamp(0, LEVELS)
    values = (parts / steps.unsqueeze(-1)).round_().add_(zeros.unsqueeze(-1)).clamp_(0, LEVELS)
    return Quantized(values=values.byte(), scales=scales, zeros=zeros.byte())


def pack(values: torch.Tensor) -> torch.Tensor:
    """Return values of four bits packed along the columns.

    Args:
        values: uint8 ``[rows, columns]``; columns are a multiple of 8.

    Returns:
        int32 ``[rows, columns / 8]``.
    """
    parts = values.reshape(values.shape[0], -1, PACKED)
    packed = torch.zeros(parts.shape[:2], dtype=torch.int32)
    for nibble, column in enumerate(ORDER):
        packed |= parts[..., column].int() << (4 * nibble)
    return packed


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """Return what ``pack`` was given, uint8 ``[rows, columns]``."""
    values = torch.empty((*packed.shape, PACKED), dtype=torch.uint8)
    for nibble, column in enumerate(ORDER):
        values[..., column] = ((packed >> (4 * nibble)) & LEVELS).byte()
    return values.flatten(1)


def encode(quantized: Quantized) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint.

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
    """Return the weight that a checkpoint's tensors stand for, f32 ``[out, in]``."""
    values = unpack(qweight).T
    group = values.shape[1] // scales.shape[0]
    return Quantized(
        values=values.reshape(values.shape[0], -1, group), scales=scales.T, zeros=unpack(qzeros).T
    ).dequantize()
