"""The tensor types of ggml and the file types that are built from them.

A new type is a row in ``GgmlType`` or ``TARGETS``, plus its rules in ``mix.py``.

Source:
    ggml.h (``enum ggml_type``), llama.h (``enum llama_ftype``), ggml-common.h (blocks).
"""

from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum

from modelvault.errors import UnsupportedTarget


@dataclass(frozen=True, slots=True)
class _Layout:
    number: int
    weights: int
    size: int


class GgmlType(Enum):
    """A tensor type: its number in files, weights a block, bytes a block."""

    F32 = _Layout(0, 1, 4)
    F16 = _Layout(1, 1, 2)
    BF16 = _Layout(30, 1, 2)
    Q4_0 = _Layout(2, 32, 18)
    Q4_1 = _Layout(3, 32, 20)
    Q5_0 = _Layout(6, 32, 22)
    Q5_1 = _Layout(7, 32, 24)
    Q8_0 = _Layout(8, 32, 34)
    Q2_K = _Layout(10, 256, 84)
    Q3_K = _Layout(11, 256, 110)
    Q4_K = _Layout(12, 256, 144)
    Q5_K = _Layout(13, 256, 176)
    Q6_K = _Layout(14, 256, 210)
    IQ4_NL = _Layout(20, 32, 18)
    IQ4_XS = _Layout(23, 256, 136)

    @property
    def number(self) -> int:
        """The type's number in a file."""
        return self.value.number

    @property
    def weights(self) -> int:
        """Weights in one block; a row holds whole blocks."""
        return self.value.weights

    @property
    def is_quantized(self) -> bool:
        """Whether a block shares a scale between its weights."""
        return self.value.weights > 1

    def row_bytes(self, columns: int) -> int:
        """Return the bytes of a row of ``columns`` weights, a multiple of ``weights``."""
        return columns // self.value.weights * self.value.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file type: how a whole model is stored."""

    name: str
    """As the field spells it: ``Q4_K_M``."""
    base: GgmlType
    """Type of every tensor that no rule raises or lowers."""
    file_type: int
    """``general.file_type``."""
    needs_importance: bool = False
    """Whether the result is garbage without an importance matrix."""


TARGETS = {
    target.name: target
    for target in (
        Target(name="F32", base=GgmlType.F32, file_type=0),
        Target(name="F16", base=GgmlType.F16, file_type=1),
        Target(name="BF16", base=GgmlType.BF16, file_type=32),
        Target(name="Q8_0", base=GgmlType.Q8_0, file_type=7),
        Target(name="Q6_K", base=GgmlType.Q6_K, file_type=18),
        Target(name="Q5_K_M", base=GgmlType.Q5_K, file_type=17),
        Target(name="Q5_K_S", base=GgmlType.Q5_K, file_type=16),
        Target(name="Q5_0", base=GgmlType.Q5_0, file_type=8),
        Target(name="Q4_K_M", base=GgmlType.Q4_K, file_type=15),
        Target(name="Q4_K_S", base=GgmlType.Q4_K, file_type=14),
        Target(name="Q4_0", base=GgmlType.Q4_0, file_type=2),
        Target(name="IQ4_NL", base=GgmlType.IQ4_NL, file_type=25),
        Target(name="IQ4_XS", base=GgmlType.IQ4_XS, file_type=30),
        Target(name="Q3_K_L", base=GgmlType.Q3_K, file_type=13),
        Target(name="Q3_K_M", base=GgmlType.Q3_K, file_type=12),
        Target(name="Q3_K_S", base=GgmlType.Q3_K, file_type=11),
        Target(name="Q2_K", base=GgmlType.Q2_K, file_type=10),
        Target(name="Q2_K_S", base=GgmlType.Q2_K, file_type=21, needs_importance=True),
    )
}


_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
"""What ``llama-quantize`` takes these names for."""

CONVERTED = ("F32", "F16", "BF16", "Q8_0")
"""Targets that llama.cpp's converter writes itself; ``llama-quantize`` makes the others."""


def find_target(name: str) -> Target:
    """Return the file type called ``name``.

    Raises:
        UnsupportedTarget: There is none; the hint names the nearest.
    """
    target = TARGETS.get(name)
    if target is None:
        near = _ALIASES.get(name) or get_close_matches(name.upper(), TARGETS, n=1, cutoff=0.0)[0]
        raise UnsupportedTarget(
            f"'{name}' is not a GGUF type this converter writes (it writes {', '.join(TARGETS)})",
            hint=f"the nearest is {near}",
        )
    return target
