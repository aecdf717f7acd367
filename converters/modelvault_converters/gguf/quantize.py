"""Turn float32 rows into the bytes of a tensor type.

F32, F16 and BF16 are numpy's work. K types and Q8_0 go through our own kernel where it was
built; all other block types, and these where it was not, through ``ggml_quantize_chunk`` of the
shared library inside the xllamacpp package: the code that llama.cpp's own quantiser runs. The
bytes are the same either way. ggml's export is not a documented interface: the symbols and the
block layouts are probed when the library is opened, and a missing one is said clearly.

ctypes releases the interpreter's lock during a call; every call works on its own rows.
"""

import ctypes
import functools
import importlib.util
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelvault.core.ggml import GgmlType
from modelvault.errors import ConverterMissing, MalformedWeights, UnsupportedTarget
from modelvault_converters.gguf import kernel
from modelvault_converters.gguf.tensors import Floats
from modelvault_converters.gguf.types import WRITTEN

PACKAGE = "xllamacpp"

_LARGEST_F16 = 65504.0
_LARGEST_BLOCK = 1e6
"""Largest weight of a block type. Scales are half precision, and the search for them multiplies
weights four times over: far beyond this it overflows and leaves zeros without a word."""


_SCALES = {
    GgmlType.Q8_0: (0,), GgmlType.Q2_K: (80, 82), GgmlType.Q3_K: (108,), GgmlType.Q4_K: (0, 2),
    GgmlType.Q5_K: (0, 2), GgmlType.Q6_K: (208,),
}  # fmt: skip
"""Where the half-precision scales of a block stand, in bytes: the kernel's types."""


class Quantizer:
    """The chunk quantiser of ggml, with its types checked against ours."""

    def __init__(self) -> None:
        """Open the shared library.

        Raises:
            ConverterMissing: The package or one of its exports is missing, or its blocks
                are laid out differently from what this release expects.
        """
        try:
            library = ctypes.CDLL(str(_find_library()))
            self._quantize = library.ggml_quantize_chunk
            self._validate = library.ggml_validate_row_data
            self._initialize = library.ggml_quantize_init
            sizes, weights = library.ggml_type_size, library.ggml_blck_size
        except (OSError, AttributeError) as error:
            raise ConverterMissing(f"{PACKAGE} does not offer ggml's quantiser: {error}") from error
        self._quantize.restype = ctypes.c_size_t
        self._quantize.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            *[ctypes.c_int64] * 3,
            ctypes.c_void_p,
        ]
        self._validate.restype = ctypes.c_bool
        self._validate.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
        sizes.restype, weights.restype = ctypes.c_size_t, ctypes.c_int64
        for type_ in WRITTEN:
            if (sizes(type_.number), weights(type_.number)) != (type_.block_bytes, type_.weights):
                raise ConverterMissing(
                    f"{PACKAGE} {version(PACKAGE)} lays {type_.name} out differently"
                )
            self._initialize(type_.number)

    def encode(
        self, rows: Floats, type_: GgmlType, name: str, importance: Floats | None = None
    ) -> npt.NDArray[np.uint8]:
        """Return the bytes of float32 ``[rows, columns]`` in a block type.

        Args:
            rows: C-contiguous values, finite.
            type_: A block type whose blocks fill whole rows.
            name: GGUF name, for messages.
            importance: How much each column matters, float32 ``[columns]``, C-contiguous,
                finite; None for all alike.

        Raises:
            MalformedWeights: A scale does not fit its half-precision place.
            ConverterMissing: The library wrote something else than a tensor of this type.
        """
        count, columns = rows.shape
        result = np.empty(count * type_.row_bytes(columns), dtype=np.uint8)
        weights = None if importance is None else importance.ctypes.data
        written = self._quantize(
            type_.number, rows.ctypes.data, result.ctypes.data, 0, count, columns, weights
        )
        if written != result.size:
            raise ConverterMissing(
                f"{PACKAGE} wrote {written} bytes of {type_.name} where {result.size} belong"
            )
        if not self._validate(type_.number, result.ctypes.data, result.size):
            raise _too_large(type_, name)
        return result


def _too_large(type_: GgmlType, name: str) -> MalformedWeights:
    return MalformedWeights(
        f"tensor '{name}': its values are too large for the scales of {type_.name}",
        hint="convert to BF16 or F32, which hold any value",
    )


def encode(
    rows: Floats, type_: GgmlType, name: str, importance: Floats | None = None
) -> npt.NDArray[Any]:
    """Return the bytes of float32 ``[rows, columns]`` as ``type_``.

    Args:
        rows: C-contiguous values, finite.
        type_: A type whose blocks fill whole rows.
        name: GGUF name, for messages.
        importance: How much each column matters to a block type, float32 ``[columns]``,
            C-contiguous, finite; None for all alike.

    Raises:
        MalformedWeights: The values are too large for a block type.
        UnsupportedTarget: A value is beyond what F16 holds.
        ConverterMissing: The quantiser's library is missing.
    """
    match type_:
        case GgmlType.F32:
            return rows
        case GgmlType.BF16:
            return to_bfloat16(rows, name)
        case GgmlType.F16:
            return _to_float16(rows, name)
    if max(rows.max(), -rows.min()) > _LARGEST_BLOCK:
        raise _too_large(type_, name)
    own = _own(type_)
    if own is None:
        return quantizer().encode(rows, type_, name, importance)
    result = own.quantize(rows, "F32", type_.number, importance)
    blocks = result.reshape(-1, type_.block_bytes)
    for at in _SCALES[type_]:
        if ((blocks[:, at + 1] & 0x7C) == 0x7C).any():  # an exponent of ones: no number
            raise _too_large(type_, name)
    return result


def prepare(types: Collection[GgmlType]) -> None:
    """Open what encodes ``types``, so that a missing library is told before the first byte.

    Raises:
        ConverterMissing: ggml's library is missing or unfit, and needed.
    """
    if any(type_.is_quantized and _own(type_) is None for type_ in types):
        quantizer()


def quantizer_versions(types: Collection[GgmlType]) -> dict[str, str]:
    """Return the name and version of what quantises ``types``; empty where nothing has to."""
    found = {}
    for own in [_own(type_) for type_ in types if type_.is_quantized]:
        if own is None:
            found[PACKAGE] = version(PACKAGE)
        else:
            found[kernel.NAME] = own.label
    return found


def _own(type_: GgmlType) -> kernel.Kernel | None:
    return kernel.find_kernel() if type_ in _SCALES else None


@functools.cache
def quantizer() -> Quantizer:
    """Return the quantiser, opened once.

    Raises:
        ConverterMissing: Its library is missing or unfit.
    """
    return Quantizer()


def to_bfloat16(rows: Floats, name: str) -> npt.NDArray[np.uint16]:
    """Return the bits of finite float32 values as bfloat16, rounded half to even.

    Raises:
        UnsupportedTarget: A value rounds to infinity.
    """
    bits = rows.view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    result = (rounded >> np.uint32(16)).astype(np.uint16)
    if result.size and (result & 0x7FFF).max() >= 0x7F80:
        raise UnsupportedTarget(
            f"tensor '{name}' holds a value beyond the end of BF16",
            hint="convert to F32 instead",
        )
    return result


def _to_float16(rows: Floats, name: str) -> npt.NDArray[np.float16]:
    own = kernel.find_kernel()
    if own is not None:  # numpy takes forty times as long over what becomes subnormal
        result = own.halve(rows)
    else:
        with np.errstate(over="ignore"):  # the largest magnitude is looked at below
            result = rows.astype(np.float16)
    if result.size and (result.view(np.uint16) & 0x7FFF).max() >= 0x7C00:
        largest = float(np.abs(rows).max())
        raise UnsupportedTarget(
            f"tensor '{name}' holds {largest:g}; F16 ends at {_LARGEST_F16:g}",
            hint="convert to BF16 or F32 instead",
        )
    return result


def _find_library() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ConverterMissing(f"the package {PACKAGE}, which quantises, is not installed")
    libraries = sorted(Path(found.origin).parent.glob(f"{PACKAGE}*.so"))
    if len(libraries) != 1:
        raise ConverterMissing(
            f"the package {PACKAGE} holds {len(libraries)} shared libraries, not one"
        )
    return libraries[0]
