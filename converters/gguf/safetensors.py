"""Read safetensors files: a bounded header, then tensors by row, never a whole file.

Hostile input is expected. Before a tensor is believed: the header fits its cap and the
file, names are unique, types are known, sizes equal shapes, and the tensors cover the data
without overlap or hole, as the format demands.

Rows are read with ``pread`` into buffers of the caller's size: a mapped file would count
as memory of this process, and a truncated one would kill it.

Source:
    https://github.com/huggingface/safetensors#format
"""

import json
import os
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from converters.gguf.tensors import Floats
from modelvault.errors import MalformedWeights

HEADER_LIMIT = 32 * 1024 * 1024
"""Largest header that is parsed, in bytes; a hundred thousand tensors take half of it."""

_LONGEST_SHAPE = 8

DTYPES = {
    "F64": 8, "I64": 8, "U64": 8,
    "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes a value of each type whose value fills whole bytes."""

READABLE = ("BF16", "F16", "F32")
"""Types whose values this converter reads."""

# Bits of the largest exponent: where they are all set the value is NaN or infinite.
_MAGNITUDE = {"BF16": 0x7FFF, "F16": 0x7FFF, "F32": 0x7FFFFFFF, "F8_E4M3": 0x7F}
_NOT_FINITE = {"BF16": 0x7F80, "F16": 0x7C00, "F32": 0x7F800000, "F8_E4M3": 0x7F}


class Rows(Protocol):
    """What gives a tensor's rows: a weight file, or a view that computes them."""

    path: str
    """Name of the file inside the model, for messages."""

    def read_rows(self, tensor: "Stored", start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``[start, stop)`` as bits ``[rows, columns]``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One tensor in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    """Bytes from the start of the file."""
    size: int
    """Bytes."""
    file: "Rows"

    @property
    def columns(self) -> int:
        """Weights a row, which is the last dimension; a vector is a column."""
        return self.shape[-1] if len(self.shape) > 1 else 1


class WeightFile:
    """An open safetensors file."""

    def __init__(self, path: str, location: str, size: int) -> None:
        """Open the file and check its header.

        Args:
            path: Name inside the model, for messages.
            location: Path on disk.
            size: Length that the model's manifest promises, in bytes.

        Raises:
            MalformedWeights: The header or the length is not what the format demands.
        """
        self.path = path
        self._descriptor = os.open(location, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.tensors = self._read_header(size)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def read_rows(self, tensor: Stored, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``[start, stop)`` as stored: bits ``[rows, columns]``.

        Rows are those of ``Stored.columns``. Types of 1, 2 and 4 bytes come as
        uint8, uint16 and uint32.

        Raises:
            MalformedWeights: The file ends early, or a value is NaN or infinite.
        """
        columns = tensor.columns
        width = DTYPES[tensor.dtype]
        bits = np.empty((stop - start, columns), dtype=np.dtype(f"<u{width}"))
        self._read_into(bits.data.cast("B"), tensor.offset + start * columns * width)
        # One pass over the largest magnitude: cheaper than a mask of the same size.
        if bits.size and (bits & _MAGNITUDE[tensor.dtype]).max() >= _NOT_FINITE[tensor.dtype]:
            raise self._not_finite(tensor, bits, start)
        return bits

    def _read_into(self, buffer: memoryview, offset: int) -> None:
        done = 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if count == 0:
                raise self._malformed(f"ends at byte {offset + done}")
            done += count

    def _read_header(self, size: int) -> dict[str, Stored]:
        actual = os.fstat(self._descriptor).st_size
        if actual != size:
            raise self._malformed(f"{actual} bytes long, {size} expected")
        if size < 8:
            raise self._malformed("too short for a header")
        length = bytearray(8)
        self._read_into(memoryview(length), 0)
        header_size = int.from_bytes(length, "little")
        if header_size > min(HEADER_LIMIT, size - 8):
            raise self._malformed(f"its header claims {header_size} bytes")
        header = bytearray(header_size)
        self._read_into(memoryview(header), 8)
        try:
            values = json.loads(header, object_pairs_hook=_unique)
            if b"\\u" in header:
                json.dumps(values, ensure_ascii=False).encode()  # an escape may be half a character
        except (ValueError, RecursionError) as error:
            raise self._malformed(f"its header is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise self._malformed("its header is not an object")
        values.pop("__metadata__", None)
        start = 8 + header_size
        tensors = {name: self._parse(name, value, start) for name, value in values.items()}
        self._check_cover(tensors, start, size)
        return tensors

    def _parse(self, name: str, value: object, start: int) -> Stored:
        """Return one header entry as a checked value; ``start`` is where data begins."""
        if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
            raise self._malformed(f"header entry '{name:.200}' is not a tensor")
        dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
        if not _is_sizes(shape) or len(shape) > _LONGEST_SHAPE:
            raise self._malformed(f"tensor '{name:.200}' has no proper shape")
        if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise self._malformed(f"tensor '{name:.200}' has no proper offsets")
        if not isinstance(dtype, str):
            raise self._malformed(f"tensor '{name:.200}' has no type")
        count = offsets[1] - offsets[0]
        # Types unknown here (4-bit floats …) are refused later, by name, with all others.
        if dtype in DTYPES and prod(shape) * DTYPES[dtype] != count:
            raise self._malformed(
                f"tensor '{name:.200}' of {dtype} {shape} cannot take {count} bytes"
            )
        return Stored(
            name=name,
            dtype=dtype,
            shape=tuple(shape),
            offset=start + offsets[0],
            size=count,
            file=self,
        )

    def _check_cover(self, tensors: dict[str, Stored], start: int, size: int) -> None:
        end = start
        for tensor in sorted(tensors.values(), key=lambda item: (item.offset, item.size)):
            if tensor.offset != end:
                fault = "overlaps another" if tensor.offset < end else "leaves a hole before it"
                raise self._malformed(f"tensor '{tensor.name:.200}' {fault}")
            end = tensor.offset + tensor.size
        if end != size:
            raise self._malformed(f"its tensors end at byte {end}, the file at byte {size}")

    def _not_finite(self, tensor: Stored, bits: npt.NDArray[Any], start: int) -> MalformedWeights:
        bad = (bits & _MAGNITUDE[tensor.dtype]) >= _NOT_FINITE[tensor.dtype]
        row, column = (int(index) for index in np.argwhere(bad)[0])
        return MalformedWeights(
            f"{self.path}: tensor '{tensor.name}' holds NaN or infinity "
            f"(first at row {start + row}, column {column})",
            hint="the checkpoint itself is broken: ask its publisher, or use another revision",
        )

    def _malformed(self, what: str) -> MalformedWeights:
        return MalformedWeights(
            f"{self.path}: {what}", hint="run 'modelvault verify', then pull the model again"
        )


def to_floats(bits: npt.NDArray[Any], dtype: str) -> Floats:
    """Return stored bits as float32 values, exactly."""
    if dtype == "BF16":
        wide = np.empty(bits.shape, dtype=np.uint32)
        np.left_shift(bits, 16, out=wide, dtype=np.uint32)
        return wide.view(np.float32)
    if dtype == "F16":
        return bits.view(np.float16).astype(np.float32)
    return bits.view(np.float32)


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
