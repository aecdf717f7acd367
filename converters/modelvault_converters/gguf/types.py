"""The file types that are written, and the tensor types that are in them.

A new file type is a row in ``TARGETS``, plus its rules in ``mix.py``.

Source:
    llama.h (``enum llama_ftype``), llama.cpp ``src/llama-quant.cpp``.
"""

from dataclasses import dataclass
from difflib import get_close_matches

from modelvault.core.ggml import FILE_TYPE_NUMBERS, GgmlType
from modelvault.errors import UnsupportedTarget

WRITTEN = (
    *(GgmlType.F32, GgmlType.F16, GgmlType.BF16),
    *(GgmlType.Q4_0, GgmlType.Q4_1, GgmlType.Q5_0, GgmlType.Q5_1, GgmlType.Q8_0),
    *(GgmlType.Q2_K, GgmlType.Q3_K, GgmlType.Q4_K, GgmlType.Q5_K, GgmlType.Q6_K),
    *(GgmlType.IQ4_NL, GgmlType.IQ4_XS),
)
"""Tensor types that a result can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file type: how a whole model is stored."""

    name: str
    """As the field spells it: ``Q4_K_M``."""
    base: GgmlType
    """Type of every tensor that no rule raises or lowers."""
    needs_importance: bool = False
    """Whether the result is garbage without an importance matrix."""

    @property
    def file_type(self) -> int:
        """``general.file_type``."""
        return FILE_TYPE_NUMBERS[self.name]


TARGETS = {
    target.name: target
    for target in (
        Target(name="F32", base=GgmlType.F32),
        Target(name="F16", base=GgmlType.F16),
        Target(name="BF16", base=GgmlType.BF16),
        Target(name="Q8_0", base=GgmlType.Q8_0),
        Target(name="Q6_K", base=GgmlType.Q6_K),
        Target(name="Q5_K_M", base=GgmlType.Q5_K),
        Target(name="Q5_K_S", base=GgmlType.Q5_K),
        Target(name="Q5_0", base=GgmlType.Q5_0),
        Target(name="Q4_K_M", base=GgmlType.Q4_K),
        Target(name="Q4_K_S", base=GgmlType.Q4_K),
        Target(name="Q4_0", base=GgmlType.Q4_0),
        Target(name="IQ4_NL", base=GgmlType.IQ4_NL),
        Target(name="IQ4_XS", base=GgmlType.IQ4_XS),
        Target(name="Q3_K_L", base=GgmlType.Q3_K),
        Target(name="Q3_K_M", base=GgmlType.Q3_K),
        Target(name="Q3_K_S", base=GgmlType.Q3_K),
        Target(name="Q2_K", base=GgmlType.Q2_K),
        Target(name="Q2_K_S", base=GgmlType.Q2_K, needs_importance=True),
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
