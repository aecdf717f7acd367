"""The GGUF container: magic, counts, metadata, tensor directory, aligned data.

Everything before the data is built in memory (a few MB, mostly tokens); offsets are known
before a byte of data exists, so tensors may be written in any order.

Source:
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import gguf
from gguf import GGUFValueType as ValueType

from modelvault.core.ggml import GgmlType
from modelvault.errors import UnsupportedSource
from modelvault_converters.gguf.tensors import Entry, Tensor

ALIGNMENT = gguf.GGUF_DEFAULT_ALIGNMENT
"""Bytes to which the data and each tensor in it are aligned."""

_SCALARS = {
    "u32": (ValueType.UINT32, "<I"),
    "i32": (ValueType.INT32, "<i"),
    "f32": (ValueType.FLOAT32, "<f"),
    "bool": (ValueType.BOOL, "<?"),
}
_ELEMENTS = {
    "f32s": (ValueType.FLOAT32, "f"),
    "i32s": (ValueType.INT32, "i"),
    "u8s": (ValueType.UINT8, "B"),
    "bools": (ValueType.BOOL, "?"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTensor:
    """A tensor with its type and its place in the file."""

    tensor: Tensor
    type: GgmlType
    offset: int
    """Bytes from the start of the file."""
    size: int
    """Bytes, without padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A planned file: all bytes before the data, and where each tensor goes."""

    head: bytes
    tensors: tuple[PlacedTensor, ...]
    size: int
    """Bytes of the whole file."""


def lay_out(
    entries: Sequence[Entry],
    tensors: Sequence[Tensor],
    types: Sequence[GgmlType],
    *,
    squeezed: bool = False,
) -> Container:
    """Return the file that holds ``tensors`` as ``types``, in this order.

    Args:
        entries: Its metadata.
        tensors: Its tensors.
        types: The type of each.
        squeezed: Whether a matrix of one row is written as a vector.

    Raises:
        UnsupportedSource: A value of the metadata does not fit its type.
    """
    directory = bytearray()
    offset = 0
    offsets = []
    for tensor, type_ in zip(tensors, types):
        offsets.append(offset)
        directory += _describe(tensor, type_, offset, squeezed=squeezed)
        offset = _aligned(offset + tensor_bytes(tensor, type_))
    counts = len(tensors), len(entries)
    head = bytearray(struct.pack("<IIQQ", gguf.GGUF_MAGIC, gguf.GGUF_VERSION, *counts))
    for entry in entries:
        head += _encode(entry)
    head += directory
    head += bytes(_aligned(len(head)) - len(head))
    placed = tuple(
        PlacedTensor(
            tensor=tensor, type=type_, offset=len(head) + at, size=tensor_bytes(tensor, type_)
        )
        for tensor, type_, at in zip(tensors, types, offsets)
    )
    return Container(head=bytes(head), tensors=placed, size=len(head) + offset)


def tensor_bytes(tensor: Tensor, type_: GgmlType) -> int:
    """Return the bytes of a tensor's data."""
    return tensor.weights // tensor.columns * type_.row_bytes(tensor.columns)


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _describe(tensor: Tensor, type_: GgmlType, offset: int, *, squeezed: bool) -> bytes:
    shape = tensor.shape[::-1]
    while squeezed and len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    numbers = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_.number, offset)
    return _text(tensor.name) + numbers


def _encode(entry: Entry) -> bytes:
    try:
        return _pack(entry)
    except (struct.error, OverflowError, UnicodeEncodeError) as error:
        raise UnsupportedSource(
            f"the model's files give '{entry.key}' a value that its type cannot hold: {error}",
            hint="compare config.json with the one on the Hub",
        ) from error


def _pack(entry: Entry) -> bytes:
    value = entry.value
    if entry.kind in _SCALARS:
        number, form = _SCALARS[entry.kind]
        return _text(entry.key) + struct.pack("<I", number) + struct.pack(form, value)
    if isinstance(value, str):
        return _text(entry.key) + struct.pack("<I", ValueType.STRING) + _text(value)
    assert isinstance(value, Sequence)
    if entry.kind == "strings":
        number, body = ValueType.STRING, b"".join(_text(str(item)) for item in value)
    else:
        number, form = _ELEMENTS[entry.kind]
        body = struct.pack(f"<{len(value)}{form}", *value)
    return _text(entry.key) + struct.pack("<IIQ", ValueType.ARRAY, number, len(value)) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
