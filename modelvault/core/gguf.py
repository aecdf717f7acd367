"""What a GGUF file says of itself: its header, read without believing it.

Runtimes have had memory errors in this very place, so every count, length and offset is
checked against the bytes that are there before anything is allocated for it. Arrays are walked
and counted; short ones of numbers, one a layer mostly, are kept, vocabularies never.

Example:
    >>> import io
    >>> read_header(io.BytesIO(b"GGUF"), 4)
    Traceback (most recent call last):
    modelvault.errors.MalformedWeights: GGUF header: ends after 4 bytes

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelvault.core.ggml import FILE_TYPES, find_type
from modelvault.core.gguf_metadata import (
    LARGEST_COUNT,
    Cursor,
    Number,
    Scalar,
    malformed,
    open_header,
    read_metadata,
)
from modelvault.core.readable import Readable

LONGEST_TENSOR_NAME = 1_024
MOST_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32
LARGEST_ALIGNMENT = 1024 * 1024


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
    """Number of elements of each array by key."""
    lists: Mapping[str, tuple[Number, ...]] = field(hash=False)
    """Values of the arrays of numbers that are no longer than ``LONGEST_LIST``."""
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


def read_header(file: Readable, size: int) -> Header:
    """Return the header of a GGUF file.

    Args:
        file: Positioned at the start of the GGUF.
        size: Length of the whole file in bytes; offsets are checked against it.

    Raises:
        MalformedWeights: Not a GGUF, one of a version or byte order that is not read, or a
            header that contradicts itself or the file's size.
    """
    cursor, preamble = open_header(file, size)
    found = read_metadata(cursor, preamble.pairs)
    infos = _read_tensors(cursor, preamble.tensors)
    alignment = _alignment(found.metadata)
    start = -(-cursor.position // alignment) * alignment
    _check_extents(infos, alignment, size - start)
    return Header(
        version=preamble.version,
        metadata=found.metadata,
        arrays=found.arrays,
        lists=found.lists,
        tensors=infos,
        data_start=start,
        spans=found.spans,
    )


def _read_tensors(cursor: Cursor, count: int) -> tuple[TensorInfo, ...]:
    infos: dict[str, TensorInfo] = {}
    for _ in range(count):
        name = cursor.text("a tensor's name", LONGEST_TENSOR_NAME)
        if name in infos:
            raise malformed(f"tensor {name!r} stands twice")
        dimensions = cursor.integer("<I")
        if not 0 <= dimensions <= MOST_DIMENSIONS:
            raise malformed(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(cursor.integer("<Q") for _ in range(dimensions))
        info = TensorInfo(
            name=name, shape=shape, type=cursor.integer("<I"), offset=cursor.integer("<Q")
        )
        if min(shape, default=1) < 1 or info.count > LARGEST_COUNT:
            raise malformed(f"tensor {name!r} has the impossible shape {shape}")
        infos[name] = info
    return tuple(infos.values())


def _alignment(metadata: Mapping[str, Scalar]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or not 1 <= value <= LARGEST_ALIGNMENT or value & (value - 1):
        raise malformed(f"an alignment of {value!r}")
    return value


def _check_extents(infos: tuple[TensorInfo, ...], alignment: int, available: int) -> None:
    end = 0
    for info in sorted(infos, key=lambda item: item.offset):
        type_ = find_type(info.type)
        block = type_.weights if type_ else 1
        if info.offset % alignment or (info.shape and info.shape[0] % block):
            raise malformed(f"tensor {info.name!r} is not aligned")
        if info.offset < end:
            raise malformed(f"tensor {info.name!r} overlaps another")
        # Of an unknown type, where it starts is all that can be checked.
        end = info.offset + (type_.row_bytes(info.count) if type_ else 0)
        if end > available:
            raise malformed(f"tensor {info.name!r} reaches beyond the end of the file")
