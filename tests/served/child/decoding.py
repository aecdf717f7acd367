"""Matrices of quantised tensors, by the formats' own definitions.

Leading dimensions are kept: experts may be stacked.

Source:
    https://docs.vllm.ai (AWQ, ``version: gemm``)
    https://github.com/vllm-project/compressed-tensors (float-, int- and pack-quantized)
"""

import torch

_NIBBLE_OF_COLUMN = (0, 4, 1, 5, 2, 6, 3, 7)


def read_awq(qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return f32 ``[…, out, in]`` of ``[…, in, out / 8]`` with zero points and scales."""
    group = qweight.shape[-2] // scales.shape[-2]
    zeros = _columns(qzeros).repeat_interleave(group, dim=-2)
    steps = scales.float().repeat_interleave(group, dim=-2)
    return ((_columns(qweight) - zeros) * steps).transpose(-1, -2).contiguous()


def read_packed(packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return f32 ``[…, out, in]`` of ``[…, out, in / 8]`` int32, symmetric, with scales."""
    values = torch.stack(_nibbles(packed), -1).flatten(-2) - 8
    group = values.shape[-1] // scale.shape[-1]
    return values * scale.float().repeat_interleave(group, dim=-1)


def read_scaled(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return f32 ``[…, out, in]`` of eight bits with a scale a row, ``[…, out, 1]``."""
    return values.float() * scale.float()


def _columns(packed: torch.Tensor) -> torch.Tensor:
    nibbles = _nibbles(packed)
    return torch.stack([nibbles[number] for number in _NIBBLE_OF_COLUMN], -1).flatten(-2)


def _nibbles(packed: torch.Tensor) -> list[torch.Tensor]:
    """Return eight tensors, that of the lowest bits first."""
    return [((packed >> (4 * number)) & 15).float() for number in range(8)]
