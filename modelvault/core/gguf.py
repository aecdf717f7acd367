"""What a GGUF file says of itself: its header, read without believing it.

Runtimes have had memory errors in this very place, so every count, length and offset is
checked against the bytes that are there before anything is allocated for it. Arrays (the
vocabulary, mostly) are walked and counted, never kept.

Example:
    >>> import io
    >>> read_header(io.BytesIO(b"GGUF"), 4)
    Traceback (most recent call last):
    modelvault.errors.MalformedWeights: GGUF header: ends after 4 bytes

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from modelvault.core.ggml import FILE_TYPES, find_type
from modelvault.errors import MalformedWeights

HEADER_LIMIT = 256 * 1024 * 1024
"""Longest header that is read, in bytes; large vocabularies take some 20 MB."""
MOST_PAIRS = 65_536
MOST_TENSORS = 1_000_000
LONGEST_KEY = 65_535
LONGEST_TENSOR_NAME = 1_024
LONGEST_STRING = 16 * 1024 * 1024
"""Longest string value, in bytes; chat templates take some 100 KB."""
MOST_DIMENSIONS = 4
MOST_NESTING = 4
DEFAULT_ALIGNMENT = 32
LARGEST_COUNT = 2**63 - 1

_WINDOW = 1024 * 1024
_STRING = 8
_ARRAY = 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_SHORTEST = {kind: struct.calcsize(code) for kind, code in _SCALARS.items()} | {
    _STRING: 8,
    _ARRAY: 12,
}
_SHORTEST_PAIR = 8 + 4 + 1
_SHORTEST_TENSOR = 8 + 4 + 4 + 8

Scalar = int | float | bool | str
_Metadata = tuple[dict[str, Scalar], dict[str, int], dict[str, tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """Where one tensor stands, and its shape."""

    name: str
    shape: tuple[int, ...]
    """Fastest dimension first, as the file has it."""
    type: int
    """ggml's number of the type; see ``ggml.find_type``."""
    offset: int
    """Bytes from the start of the data section."""

    @property
    def count(self) -> int:
        """Number of weights."""
        product = 1
        for dimension in self.shape:
            product *= dimension
        return product


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The parsed header of a GGUF file."""

    version: int
    metadata: Mapping[str, Scalar] = field(hash=False)
    """Scalars and strings by key."""
    arrays: Mapping[str, int] = field(hash=False)
    """Number of elements of each array by key; their values are not kept."""
    tensors: tuple[TensorInfo, ...]
    data_start: int
    """Offset of the data section in the file, in bytes."""
    spans: Mapping[str, tuple[int, int]] = field(hash=False)
    """Where each metadata pair stands in the file: its first byte, and the byte after it."""

    @property
    def architecture(self) -> str:
        """``general.architecture``, such as ``llama``; empty when it is not given."""
        return self.text("general.architecture")

    @property
    def file_type(self) -> str:
        """Name of the quantisation mix, such as ``Q4_K_M``; ``unknown`` when not given."""
        value = self.metadata.get("general.file_type")
        return FILE_TYPES.get(value, "unknown") if isinstance(value, int) else "unknown"

    @property
    def parameters(self) -> int:
        """Number of weights in all tensors."""
        return sum(tensor.count for tensor in self.tensors)

    @property
    def parts(self) -> int:
        """Number of files the model is split into; 1 when it is whole."""
        value = self.metadata.get("split.count", 1)
        return max(value, 1) if isinstance(value, int) else 1

    def text(self, key: str) -> str:
        """Return a string value, or an empty one where the key is missing or no string."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""


def read_header(file: BinaryIO, size: int) -> Header:
    """Return the header of a GGUF file.

    Args:
        file: Positioned at the start of the GGUF.
        size: Length of the whole file in bytes; offsets are checked against it.

    Raises:
        MalformedWeights: Not a GGUF, one of a version or byte order that is not read, or a
            header that contradicts itself or the file's size.
    """
    cursor = _Cursor(file, min(size, HEADER_LIMIT))
    if cursor.take(4) != b"GGUF":
        raise _malformed("the magic number is not GGUF")
    version = cursor.integer("<I")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        reason = "big-endian files are" if swapped in (2, 3) else f"version {version} is"
        raise _malformed(f"{reason} not read; 2 and 3, little-endian, are")
    tensors = cursor.count("tensors", MOST_TENSORS, _SHORTEST_TENSOR)
    pairs = cursor.count("metadata pairs", MOST_PAIRS, _SHORTEST_PAIR)
    metadata, arrays, spans = _read_metadata(cursor, pairs)
    infos = _read_tensors(cursor, tensors)
    alignment = _alignment(metadata)
    start = -(-cursor.position // alignment) * alignment
    _check_extents(infos, alignment, size - start)
    return Header(
        version=version,
        metadata=metadata,
        arrays=arrays,
        tensors=infos,
        data_start=start,
        spans=spans,
    )


class _Cursor:
    """Reads little-endian values off a bounded stream, through a window."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        """Start where the stream stands.

        Args:
            file: What is read.
            limit: Bytes that may be read of it.
        """
        self._file = file
        self._left = limit
        """Bytes that may still be read from the stream."""
        self._limit = limit
        self._window = b""
        self._at = 0

    @property
    def remaining(self) -> int:
        """Bytes up to the limit."""
        return self._left + len(self._window) - self._at

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._limit - self.remaining

    def take(self, amount: int) -> bytes:
        """Return the next ``amount`` bytes; the caller has bounded the amount."""
        end = self._at + amount
        if end > len(self._window):
            self._refill(amount)
            end = amount
        data = self._window[self._at : end]
        self._at = end
        return data

    def skip(self, amount: int) -> None:
        """Pass over bytes without keeping them."""
        if amount > self.remaining:
            raise _malformed(f"ends after {self._limit} bytes")
        while amount > 0:
            step = min(amount, _WINDOW)
            self.take(step)
            amount -= step

    def integer(self, code: str) -> int:
        """Return one integer."""
        value: int = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return value

    def count(self, what: str, most: int, shortest: int) -> int:
        """Return a count that the remaining bytes can hold.

        Args:
            what: What is counted, for messages.
            most: Largest acceptable count.
            shortest: Bytes that one element takes at least.
        """
        value = self.integer("<Q")
        if value > most or value * shortest > self.remaining:
            raise _malformed(f"{value} {what} do not fit")
        return value

    def text(self, what: str, longest: int) -> str:
        """Return a string of at most ``longest`` bytes."""
        data = self.take(self.count(f"bytes of {what}", longest, 1))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _malformed(f"{what} is not UTF-8") from error

    def _refill(self, amount: int) -> None:
        kept = self._window[self._at :]
        wanted = min(max(amount - len(kept), _WINDOW), self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        self._window, self._at = kept + data, 0
        if len(self._window) < amount:
            raise _malformed(f"ends after {self._limit - self._left} bytes")


def _read_metadata(cursor: _Cursor, pairs: int) -> _Metadata:
    metadata: dict[str, Scalar] = {}
    arrays: dict[str, int] = {}
    spans: dict[str, tuple[int, int]] = {}
    for _ in range(pairs):
        start = cursor.position
        key = cursor.text("a key", LONGEST_KEY)
        if key in metadata or key in arrays:
            raise _malformed(f"key {key[:100]!r} stands twice")
        kind = cursor.integer("<I")
        if kind == _ARRAY:
            arrays[key] = _skip_array(cursor, 1)
        elif kind == _STRING:
            metadata[key] = cursor.text(f"value of {key[:100]!r}", LONGEST_STRING)
        elif kind in _SCALARS:
            metadata[key] = _scalar(cursor, kind, key)
        else:
            raise _malformed(f"key {key[:100]!r} is of unknown type {kind}")
        spans[key] = (start, cursor.position)
    return metadata, arrays, spans


def _scalar(cursor: _Cursor, kind: int, key: str) -> Scalar:
    data = cursor.take(_SHORTEST[kind])
    if _SCALARS[kind] == "<?" and data not in (b"\0", b"\1"):
        raise _malformed(f"key {key[:100]!r} is neither true nor false")
    value: int | float | bool = struct.unpack(_SCALARS[kind], data)[0]
    return value


def _skip_array(cursor: _Cursor, depth: int) -> int:
    kind = cursor.integer("<I")
    if kind not in _SHORTEST or depth > MOST_NESTING:
        raise _malformed(f"an array of type {kind} at depth {depth}")
    count = cursor.count("array elements", LARGEST_COUNT, _SHORTEST[kind])
    if kind == _STRING:
        for _ in range(count):
            cursor.skip(cursor.integer("<Q"))
    elif kind == _ARRAY:
        for _ in range(count):
            _skip_array(cursor, depth + 1)
    else:
        cursor.skip(count * _SHORTEST[kind])
    return count


def _read_tensors(cursor: _Cursor, count: int) -> tuple[TensorInfo, ...]:
    infos: dict[str, TensorInfo] = {}
    for _ in range(count):
        name = cursor.text("a tensor's name", LONGEST_TENSOR_NAME)
        if name in infos:
            raise _malformed(f"tensor {name!r} stands twice")
        dimensions = cursor.integer("<I")
        if not 0 <= dimensions <= MOST_DIMENSIONS:
            raise _malformed(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(cursor.integer("<Q") for _ in range(dimensions))
        info = TensorInfo(
            name=name, shape=shape, type=cursor.integer("<I"), offset=cursor.integer("<Q")
        )
        if min(shape, default=1) < 1 or info.count > LARGEST_COUNT:
            raise _malformed(f"tensor {name!r} has the impossible shape {shape}")
        infos[name] = info
    return tuple(infos.values())


def _alignment(metadata: Mapping[str, Scalar]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or not 1 <= value <= _WINDOW or value & (value - 1):
        raise _malformed(f"an alignment of {value!r}")
    return value


def _check_extents(infos: tuple[TensorInfo, ...], alignment: int, available: int) -> None:
    end = 0
    for info in sorted(infos, key=lambda item: item.offset):
        type_ = find_type(info.type)
        block = type_.weights if type_ else 1
        if info.offset % alignment or (info.shape and info.shape[0] % block):
            raise _malformed(f"tensor {info.name!r} is not aligned")
        if info.offset < end:
            raise _malformed(f"tensor {info.name!r} overlaps another")
        # Of an unknown type, where it starts is all that can be checked.
        end = info.offset + (type_.row_bytes(info.count) if type_ else 0)
        if end > available:
            raise _malformed(f"tensor {info.name!r} reaches beyond the end of the file")


def _malformed(reason: str) -> MalformedWeights:
    return MalformedWeights(
        f"GGUF header: {reason}", hint="the file is damaged or hostile: pull it again"
    )
