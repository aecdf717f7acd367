"""Our own quantiser of K types and Q8_0: the bytes of ggml's, several times as fast.

The C sources beside this file become a shared library without any of Python's interfaces, where
a compiler is there when the package is built. It quantises as many super-blocks at once as the
processor has vector lanes, with one copy of the code for each instruction set. Its absence is no
error: ``modelvault_converters.gguf.quantize`` then uses ggml's, and gets the same bytes.

``MODELVAULT_KERNEL`` chooses for tests and comparisons: ``off``, or the name of an instruction
set. ctypes releases the interpreter's lock during a call, and a call touches its arguments only.

Source:
    docs/formats/quantisation.md
"""

import ctypes
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelvault.core.ggml import GgmlType
from modelvault.errors import ConverterMissing

NAME = "modelvault-kernel"
"""What records call it."""

VERSION = 1
"""Of the library that this file can call."""

LEVELS = ("baseline", "avx2", "avx512")
"""Instruction sets; a processor that has one has all before it."""

LIBRARY = Path(__file__).parent / "_kernel.abi3.so"
"""Where the build puts it."""

_CHOICE = "MODELVAULT_KERNEL"

TYPES = (
    *(GgmlType.Q8_0, GgmlType.Q2_K, GgmlType.Q3_K),
    *(GgmlType.Q4_K, GgmlType.Q5_K, GgmlType.Q6_K),
)
"""What it quantises to."""

BLOCKS: Mapping[int, tuple[int, int]] = {
    type_.number: (type_.weights, type_.block_bytes) for type_ in TYPES
}
"""Weights and bytes a block, by the number of the type in a file."""

_FORMATS = {"F32": 0, "BF16": 1, "F16": 2}
_WIDTHS = {"F32": 4, "BF16": 2, "F16": 2}


class Kernel:
    """The library, bound to one instruction set."""

    def __init__(self, library: Path, level: str = "") -> None:
        """Load the library.

        Args:
            library: The shared library.
            level: One of ``LEVELS``; empty for the best that the processor has.

        Raises:
            OSError: It cannot be loaded, is of another version, or the level is unknown here.
        """
        try:
            loaded = ctypes.CDLL(str(library))
            found = loaded.modelvault_kernel_version()
            best = loaded.modelvault_best_level()
            self._quantize = loaded.modelvault_quantize
            self._halve = loaded.modelvault_halve
        except AttributeError as error:
            raise OSError(f"{library}: {error}") from error
        if found != VERSION:
            raise OSError(f"{library}: version {found}, not {VERSION}")
        self.levels = LEVELS[: best + 1]
        """What this processor can run."""
        self.level = level or self.levels[-1]
        """What this object runs."""
        if self.level not in self.levels:
            raise OSError(f"{library}: this processor runs {', '.join(self.levels)}, not {level}")
        self._quantize.restype = ctypes.c_int
        self._quantize.argtypes = [
            ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p,
            ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
        ]  # fmt: skip
        self._halve.restype = ctypes.c_int
        self._halve.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64,
        ]  # fmt: skip

    def quantize(
        self,
        weights: npt.NDArray[Any],
        stored: str,
        type_: int,
        importance: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Return the blocks of ``weights``, bytes ``[n]``, rows one after another.

        Args:
            weights: Finite weights ``[rows, columns]``, C-contiguous, as floats or as their bits.
            stored: What the bits are: ``F32``, ``BF16`` or ``F16``.
            type_: A key of ``BLOCKS``; its blocks fill whole rows.
            importance: How much each column matters, float32 ``[columns]``; None for all alike.

        Raises:
            ValueError: The arguments do not fit each other; nothing was read.
        """
        width, size = BLOCKS[type_]
        columns = weights.shape[1]
        if columns % width or weights.itemsize != _WIDTHS[stored] or not weights.flags.c_contiguous:
            raise ValueError(
                f"{weights.dtype} {weights.shape} is not {stored} in blocks of {width}"
            )
        if importance is not None and not (
            importance.dtype == np.float32
            and importance.shape == (columns,)
            and importance.flags.c_contiguous
        ):
            raise ValueError(f"importance {importance.dtype} {importance.shape} for {columns}")
        blocks = weights.size // width
        result = np.empty(blocks * size, dtype=np.uint8)
        if blocks == 0:
            return result
        status = self._quantize(
            LEVELS.index(self.level),
            type_,
            weights.ctypes.data,
            _FORMATS[stored],
            result.ctypes.data,
            blocks,
            columns // width,
            None if importance is None else importance.ctypes.data,
        )
        if status != 0:
            raise ValueError(f"the kernel refused type {type_} of {stored}")
        return result

    def halve(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
        """Return C-contiguous finite floats rounded to half precision, half to even.

        Beyond the end of half precision they become infinite.
        """
        result = np.empty(rows.shape, dtype=np.float16)
        level = LEVELS.index(self.level)
        if self._halve(level, rows.ctypes.data, 0, result.ctypes.data, rows.size) < 0:
            raise ValueError("the kernel refused to halve")
        return result

    @property
    def label(self) -> str:
        """Version and instruction set, for records."""
        return f"{VERSION}+{self.level}"


@functools.cache
def find_kernel() -> Kernel | None:
    """Return the kernel that conversions use; None where there is none or it is switched off.

    Raises:
        ConverterMissing: The environment demands an instruction set that cannot be had.
    """
    level = os.environ.get(_CHOICE, "")
    if level == "off":
        return None
    try:
        return Kernel(LIBRARY, level)
    except OSError as error:
        if level:
            raise ConverterMissing(
                f"{_CHOICE} is '{level}': {error}",
                hint=f"unset {_CHOICE}, or use off or one of {', '.join(LEVELS)}",
            ) from error
        return None  # not built here, or built for something else: ggml's does the same
