"""The keys of a GGUF file, read value by value off a bounded stream.

Every count and length is checked against the bytes that are there before anything is allocated
for it. Arrays are walked and counted; short ones of numbers, one a layer mostly, are kept,
vocabularies never.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from dataclasses import dataclass, field

from modelvault.core.readable import Readable
from modelvault.errors import MalformedWeights

HEADER_LIMIT = 256 * 1024 * 1024
"""Longest header that is read, in bytes; large vocabularies take some 20 MB."""
MOST_PAIRS = 65_536
MOST_TENSORS = 1_000_000
LONGEST_KEY = 65_535
LONGEST_STRING = 16 * 1024 * 1024
"""Longest string value, in bytes; chat templates take some 100 KB."""
LONGEST_LIST = 4_096
"""Numbers of an array that is kept; a number for each layer takes some hundred."""
MOST_NESTING = 4
LARGEST_COUNT = 2**63 - 1

SHORTEST_TENSOR = 8 + 4 + 4 + 8
"""Bytes that the description of a tensor takes at least."""

_WINDOW = 1024 * 1024
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_SHORTEST = {kind: struct.calcsize(code) for kind, code in _SCALARS.items()} | {
    _STRING: 8,
    _ARRAY: 12,
}
_SHORTEST_PAIR = 8 + 4 + 1

Number = int | float | bool
Scalar = Number | str


@dataclass(frozen=True, slots=True)
class Preamble:
    """What a file begins with."""

    version: int
    tensors: int
    """Number of tensors."""
    pairs: int
    """Number of metadata pairs."""


@dataclass(slots=True)
class Metadata:
    """What the pairs of a header say."""

    metadata: dict[str, Scalar] = field(default_factory=dict)
    """Scalars and strings by key."""
    arrays: dict[str, int] = field(default_factory=dict)
    """Number of elements of each array by key."""
    lists: dict[str, tuple[Number, ...]] = field(default_factory=dict)
    """Values of the arrays of numbers that are no longer than ``LONGEST_LIST``."""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where each pair stands: its first byte, and the byte after it."""


def open_header(file: Readable, size: int) -> tuple["Cursor", Preamble]:
    """Return what reads on, and what stands before the first pair.

    Args:
        file: Positioned at the start of the GGUF.
        size: Length of the whole file in bytes.

    Raises:
        MalformedWeights: Not a GGUF, or one of a version or byte order that is not read.
    """
    cursor = Cursor(file, min(size, HEADER_LIMIT))
    if cursor.take(4) != b"GGUF":
        raise malformed("the magic number is not GGUF")
    version = cursor.integer("<I")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        reason = "big-endian files are" if swapped in (2, 3) else f"version {version} is"
        raise malformed(f"{reason} not read; 2 and 3, little-endian, are")
    tensors = cursor.count("tensors", MOST_TENSORS, SHORTEST_TENSOR)
    pairs = cursor.count("metadata pairs", MOST_PAIRS, _SHORTEST_PAIR)
    return cursor, Preamble(version, tensors, pairs)


def read_keys(file: Readable, size: int) -> Metadata:
    """Return the keys that stand before the vocabulary, and how long that is.

    A vocabulary takes megabytes; whoever fetches a file over a network reads up to it.

    Args:
        file: Positioned at the start of the GGUF.
        size: Length of the whole file in bytes.

    Raises:
        MalformedWeights: Not a GGUF that is read, or a header that contradicts itself.
    """
    cursor, preamble = open_header(file, size)
    found = Metadata()
    for _ in range(preamble.pairs):
        if _read_pair(cursor, found, vocabulary=False):
            break
    return found


def read_metadata(cursor: "Cursor", pairs: int) -> Metadata:
    """Return what all pairs say.

    Raises:
        MalformedWeights: A pair contradicts itself, or stands twice.
    """
    found = Metadata()
    for _ in range(pairs):
        _read_pair(cursor, found, vocabulary=True)
    return found


def _read_pair(cursor: "Cursor", found: Metadata, *, vocabulary: bool) -> bool:
    """Read one pair; return whether it is a long list of texts that was counted and not read."""
    start = cursor.position
    key = cursor.text("a key", LONGEST_KEY)
    if key in found.metadata or key in found.arrays:
        raise malformed(f"key {key[:100]!r} stands twice")
    kind = cursor.integer("<I")
    if kind == _ARRAY:
        kind, count = _begin_array(cursor, 1)
        found.arrays[key] = count
        if kind == _STRING and count > LONGEST_LIST and not vocabulary:
            return True
        if values := _read_values(cursor, kind, count, 1):
            found.lists[key] = values
    elif kind == _STRING:
        found.metadata[key] = cursor.text(f"value of {key[:100]!r}", LONGEST_STRING)
    elif kind in _SCALARS:
        found.metadata[key] = _scalar(cursor, kind, key)
    else:
        raise malformed(f"key {key[:100]!r} is of unknown type {kind}")
    found.spans[key] = (start, cursor.position)
    return False


def _begin_array(cursor: "Cursor", depth: int) -> tuple[int, int]:
    """Return the type and the number of an array's elements."""
    kind = cursor.integer("<I")
    if kind not in _SHORTEST or depth > MOST_NESTING:
        raise malformed(f"an array of type {kind} at depth {depth}")
    return kind, cursor.count("array elements", LARGEST_COUNT, _SHORTEST[kind])


def _read_values(cursor: "Cursor", kind: int, count: int, depth: int) -> tuple[Number, ...]:
    """Pass over an array's elements, and return them where they are kept."""
    if kind == _STRING:
        for _ in range(count):
            cursor.skip(cursor.integer("<Q"))
    elif kind == _ARRAY:
        for _ in range(count):
            _read_values(cursor, *_begin_array(cursor, depth + 1), depth + 1)
    elif count <= LONGEST_LIST:
        code = f"<{count}{_SCALARS[kind][1]}"
        return struct.unpack(code, cursor.take(count * _SHORTEST[kind]))
    else:
        cursor.skip(count * _SHORTEST[kind])
    return ()


def _scalar(cursor: "Cursor", kind: int, key: str) -> Scalar:
    data = cursor.take(_SHORTEST[kind])
    if _SCALARS[kind] == "<?" and data not in (b"\0", b"\1"):
        raise malformed(f"key {key[:100]!r} is neither true nor false")
    value: int | float | bool = struct.unpack(_SCALARS[kind], data)[0]
    return value


class Cursor:
    """Reads little-endian values off a bounded stream, through a window."""

    def __init__(self, file: Readable, limit: int) -> None:
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
            raise malformed(f"ends after {self._limit} bytes")
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
            raise malformed(f"{value} {what} do not fit")
        return value

    def text(self, what: str, longest: int) -> str:
        """Return a string of at most ``longest`` bytes."""
        data = self.take(self.count(f"bytes of {what}", longest, 1))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise malformed(f"{what} is not UTF-8") from error

    def _refill(self, amount: int) -> None:
        kept = self._window[self._at :]
        wanted = min(max(amount - len(kept), _WINDOW), self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        self._window, self._at = kept + data, 0
        if len(self._window) < amount:
            raise malformed(f"ends after {self._limit - self._left} bytes")


def malformed(reason: str) -> MalformedWeights:
    """Return the error for a header that cannot be believed."""
    return MalformedWeights(
        f"GGUF header: {reason}", hint="the file is damaged or hostile: pull it again"
    )
