"""Where the numbers of an importance matrix stand, in both formats that llama.cpp writes.

Today's is GGUF: for a tensor ``T`` of the model, ``T.in_sum2`` holds the summed squares of every
input, float32 ``[matrices, columns]``, and ``T.counts`` how many were summed, float32
``[matrices, 1]``; an expert is a matrix of its own.

The older one (``.dat``), which many publishers still offer, is a plain list: the number of
entries, then for each the length of its name, the name, the number of calls, the number of values,
and the values, means times calls in float32, all matrices one after another. After the last entry
the number of chunks and the name of the text may follow. Numbers are int32, little-endian.

Hostile input is expected: nothing here reads a value, and every length is compared with the file.

Source:
    llama.cpp ``common/imatrix-loader.cpp`` (both layouts), ``tools/quantize/quantize.cpp`` (use).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from modelvault.core.gguf import Header, TensorInfo, read_header
from modelvault.errors import BadOption, MalformedWeights

_SUMS, _COUNTS = ".in_sum2", ".counts"
_FLOAT32 = 0
_MOST_ENTRIES = 1_000_000
_LONGEST_NAME = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the file holds for one tensor."""

    values: int
    """Numbers of all matrices together."""
    matrices: int
    """0 where the file does not say: as many as the tensor has."""
    sums: int
    """Offset in the file, in bytes."""
    counts: int = 0
    """Offset of one count for each matrix; 0 where ``divisor`` counts for all."""
    divisor: float = 1.0

    def fits(self, matrices: int, columns: int) -> bool:
        """Return whether a tensor of so many matrices and columns was measured."""
        return self.values == matrices * columns and self.matrices in (0, matrices)

    def __str__(self) -> str:
        """Return the shape as far as the file says it."""
        if not self.matrices:
            return f"{self.values} in all"
        return f"{self.matrices} x {self.values // self.matrices}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Every entry of a file."""

    entries: Mapping[str, Entry]
    chunks: int
    """Chunks of text that were measured, as the file says; 0 where it does not."""


def read_contents(file: BinaryIO, size: int) -> Contents:
    """Return what an importance matrix holds.

    Args:
        file: Positioned at the start.
        size: Length of the file in bytes.

    Raises:
        BadOption: Not an importance matrix.
        MalformedWeights: The file contradicts itself.
    """
    magic = file.read(4)
    file.seek(0)
    if magic != b"GGUF":
        return _read_list(file, size)
    header = read_header(file, size)
    chunks = header.metadata.get("imatrix.chunk_count", 0)
    return Contents(entries=_read_tensors(header), chunks=chunks if isinstance(chunks, int) else 0)


def _read_tensors(header: Header) -> dict[str, Entry]:
    infos: Mapping[str, TensorInfo] = {info.name: info for info in header.tensors}
    entries: dict[str, Entry] = {}
    for name, sums in infos.items():
        if not name.endswith(_SUMS):
            continue
        base = name.removesuffix(_SUMS)
        counts = infos.get(base + _COUNTS)
        matrices = sums.count // sums.shape[0] if sums.shape else 0
        if counts is None or counts.count != matrices:
            raise _malformed(f"'{base:.200}' has no matching counts")
        if (sums.type, counts.type) != (_FLOAT32, _FLOAT32):
            raise _malformed(f"'{base:.200}' is not float32")
        entries[base] = Entry(
            values=sums.count,
            matrices=matrices,
            sums=header.data_start + sums.offset,
            counts=header.data_start + counts.offset,
        )
    if not entries:
        kind = header.architecture or header.text("general.type") or "unknown"
        raise BadOption(
            f"--imatrix: a GGUF file, but no importance matrix (it is of type '{kind:.50}')",
            hint="llama-imatrix measures one; a model is not one",
        )
    return entries


def _read_list(file: BinaryIO, size: int) -> Contents:
    """Return what a file in the older format holds."""
    entries: dict[str, Entry] = {}
    try:
        count = _integer(file)
        if not 1 <= count <= _MOST_ENTRIES:
            raise _malformed(f"it claims {count} entries")
        for _ in range(count):
            name, entry = _read_entry(file, size)
            if name in entries:
                raise _malformed(f"'{name:.200}' stands twice")
            entries[name] = entry
    except MalformedWeights as error:
        if entries:
            raise
        raise BadOption(
            "--imatrix: neither a GGUF file nor a list (.dat) as llama.cpp writes them",
            hint="llama-imatrix measures an importance matrix",
        ) from error
    last = file.read(4)
    chunks: int = struct.unpack("<i", last)[0] if len(last) == 4 else 0
    return Contents(entries=entries, chunks=max(chunks, 0))


def _read_entry(file: BinaryIO, size: int) -> tuple[str, Entry]:
    length = _integer(file)
    if not 1 <= length <= _LONGEST_NAME:
        raise _malformed(f"a name of {length} bytes")
    try:
        name = file.read(length).decode()
    except UnicodeDecodeError as error:
        raise _malformed("a name that is not UTF-8") from error
    calls, values = _integer(file), _integer(file)
    start = file.tell()
    if not 1 <= values <= (size - start) // 4:
        raise _malformed(f"'{name:.200}' claims {values} values")
    file.seek(start + 4 * values)
    divisor = float(calls) if calls > 0 else 1.0
    return name, Entry(values=values, matrices=0, sums=start, divisor=divisor)


def _integer(file: BinaryIO) -> int:
    data = file.read(4)
    if len(data) != 4:
        raise _malformed("it ends early")
    number: int = struct.unpack("<i", data)[0]
    return number


def _malformed(reason: str) -> MalformedWeights:
    return MalformedWeights(f"importance matrix: {reason}", hint="copy or measure the file again")
