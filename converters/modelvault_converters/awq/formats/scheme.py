"""The two types of eight bits: what a weight or an activation becomes.

Source:
    https://github.com/vllm-project/compressed-tensors (float-quantized, int-quantized)
    Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433 (E4M3)
"""

from dataclasses import dataclass

import torch

_SMALLEST_SCALE = 2.0**-100
"""Keeps the quotient finite for channels of zeros and of subnormal weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EightBit:
    """A type of eight bits."""

    target: str
    format: str
    """As compressed-tensors calls it."""
    kind: str
    """``float`` or ``int``."""
    dtype: str
    """As safetensors spells it."""
    largest: float
    """Largest magnitude that is used."""

    def quantize(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return values in 8 bits and the scales of their rows.

        Args:
            weight: A linear's weight ``[out, in]``, or its inputs ``[tokens, in]``; bf16, f16
                or f32.

        Returns:
            8-bit, of the same shape, and f32 ``[…, 1]``; their product approximates the values.
        """
        values = weight.float()
        scale = values.abs().amax(dim=-1, keepdim=True) / self.largest
        scale = scale.clamp(min=_SMALLEST_SCALE)
        scaled = (values / scale).clamp(-self.largest, self.largest)
        if self.kind == "int":
            return scaled.round().to(torch.int8), scale
        return scaled.to(torch.float8_e4m3fn), scale

    def restore(self, values: torch.Tensor) -> torch.Tensor:
        """Return what values are after rounding to 8 bits and back, f32."""
        rounded, scale = self.quantize(values)
        return rounded.float() * scale


FP8 = EightBit(target="FP8", format="float-quantized", kind="float", dtype="F8_E4M3", largest=448.0)
INT8 = EightBit(target="INT8", format="int-quantized", kind="int", dtype="I8", largest=127.0)
