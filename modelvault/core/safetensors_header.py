r"""What a safetensors file says of itself: its header, read without believing it.

The header's length is bounded before it is read, names are unique, sizes equal shapes, and the
tensors cover the data without overlap or hole, as the format demands.

Example:
    >>> import io
    >>> read_header(io.BytesIO(b"\x02\0\0\0\0\0\0\0{}"), 10).tensors
    ()

Source: https://github.com/huggingface/safetensors#format
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from modelvault.core.readable import Readable
from modelvault.errors import MalformedWeights

HEADER_LIMIT = 32 * 1024 * 1024
"""Longest header that is parsed, in bytes; a hundred thousand tensors take half of it."""
MOST_DIMENSIONS = 8

BITS: Mapping[str, int] = {
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
    "F32": 32, "I32": 32, "U32": 32,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of a value of each type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """Where one tensor stands, and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Slowest dimension first, as the file has it."""
    offset: int
    """Bytes from the start of the file."""
    size: int
    """Bytes."""

    @property
    def count(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsHeader:
    """The parsed header of a safetensors file."""

    metadata: Mapping[str, str] = field(hash=False)
    tensors: tuple[TensorEntry, ...]
    """In the order of their data."""


def read_header(file: Readable, size: int) -> SafetensorsHeader:
    """Return the header of a safetensors file.

    Args:
        file: Positioned at the start.
        size: Length of the whole file in bytes; the tensors are checked against it.

    Raises:
        MalformedWeights: Not a safetensors file, or a header that contradicts itself or the
            file's size.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(HEADER_LIMIT, size - 8):
        raise _malformed(f"it claims {length} bytes in a file of {size}")
    data = file.read(length)
    if len(data) != length:
        raise _malformed(f"ends after {8 + len(data)} bytes")
    try:
        values = json.loads(data, object_pairs_hook=_unique)
        if b"\\u" in data:
            json.dumps(values, ensure_ascii=False).encode()  # an escape may be half a character
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise _malformed("not an object")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _malformed("its metadata are not texts")
    tensors = sorted(
        (_parse(name, value, 8 + length) for name, value in values.items()),
        key=lambda item: (item.offset, item.size),
    )
    _check_cover(tensors, 8 + length, size)
    return SafetensorsHeader(metadata=metadata, tensors=tuple(tensors))


def _parse(name: str, value: object, start: int) -> TensorEntry:
    """Return one entry as a checked value; ``start`` is where data begins."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _malformed(f"entry {name[:200]!r} is not a tensor")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not _is_sizes(shape) or len(shape) > MOST_DIMENSIONS:
        raise _malformed(f"tensor {name[:200]!r} has no proper shape")
    if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _malformed(f"tensor {name[:200]!r} has no proper offsets")
    if not isinstance(dtype, str):
        raise _malformed(f"tensor {name[:200]!r} has no type")
    count = offsets[1] - offsets[0]
    if dtype in BITS and prod(shape) * BITS[dtype] != 8 * count:
        raise _malformed(f"tensor {name[:200]!r} of {dtype} {shape} cannot take {count} bytes")
    return TensorEntry(
        name=name, dtype=dtype, shape=tuple(shape), offset=start + offsets[0], size=count
    )


def _check_cover(tensors: list[TensorEntry], start: int, size: int) -> None:
    end = start
    for tensor in tensors:
        if tensor.offset != end:
            fault = "overlaps another" if tensor.offset < end else "leaves a hole before it"
            raise _malformed(f"tensor {tensor.name[:200]!r} {fault}")
        end = tensor.offset + tensor.size
    if end != size:
        raise _malformed(f"its tensors end at byte {end}, the file at byte {size}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _is_sizes(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 48
        for item in value
    )


def _malformed(reason: str) -> MalformedWeights:
    return MalformedWeights(
        f"safetensors header: {reason}", hint="the file is damaged or hostile: pull it again"
    )
