"""The rows of a model's tensors: bits as stored, and their values.

Rows are read into buffers of the caller's size, never a whole tensor.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from modelvault.core.safetensors_header import BITS
from modelvault.errors import MalformedWeights
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.tensors import Floats
from modelvault_converters.open_weights import OpenWeights
from modelvault_converters.weights import open_weights

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
    file: Rows

    @property
    def columns(self) -> int:
        """Weights a row, which is the last dimension; a vector is a column."""
        return self.shape[-1] if len(self.shape) > 1 else 1


class FileRows:
    """The rows of the tensors of one weight file, as stored."""

    def __init__(self, file: OpenWeights) -> None:
        """Read from an open file.

        Args:
            file: Stays open as long as rows are read; its owner closes it.
        """
        self.path = file.path
        self._file = file

    def read_rows(self, tensor: Stored, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``[start, stop)`` as stored: bits ``[rows, columns]``.

        Rows are those of ``Stored.columns``. Types of 1, 2 and 4 bytes come as
        uint8, uint16 and uint32.

        Raises:
            MalformedWeights: The file ends early, or a value is NaN or infinite.
        """
        columns = tensor.columns
        width = BITS[tensor.dtype] // 8
        bits = np.empty((stop - start, columns), dtype=np.dtype(f"<u{width}"))
        self._file.read_into(bits.data.cast("B"), tensor.offset + start * columns * width)
        # One pass over the largest magnitude: cheaper than a mask of the same size.
        if (
            bits.size
            and tensor.dtype in _MAGNITUDE
            and (bits & _MAGNITUDE[tensor.dtype]).max() >= _NOT_FINITE[tensor.dtype]
        ):
            raise self._not_finite(tensor, bits, start)
        return bits

    def _not_finite(self, tensor: Stored, bits: npt.NDArray[Any], start: int) -> MalformedWeights:
        bad = (bits & _MAGNITUDE[tensor.dtype]) >= _NOT_FINITE[tensor.dtype]
        row, column = (int(index) for index in np.argwhere(bad)[0])
        return MalformedWeights(
            f"{self.path}: tensor '{tensor.name}' holds NaN or infinity "
            f"(first at row {start + row}, column {column})",
            hint="the checkpoint itself is broken: ask its publisher, or use another revision",
        )


def read_tensors(checkpoint: Checkpoint, stack: ExitStack) -> Mapping[str, Stored]:
    """Return every tensor of a model by its name; files stay open until the stack is closed.

    Raises:
        SourceIncomplete: Shards or tensors are missing.
        SizeMismatch: A file's length is not what the manifest promises.
        MalformedWeights: A file or the index is malformed, or a tensor is in two files.
        UnsupportedSource: There are no safetensors weights, nor any of PyTorch's own form.
    """
    placed = open_weights(checkpoint, stack, pickles=True)
    rows = {file.path: FileRows(file) for _, file in placed.values()}
    return {
        name: Stored(
            name=name,
            dtype=entry.dtype,
            shape=entry.shape,
            offset=entry.offset,
            size=entry.size,
            file=rows[file.path],
        )
        for name, (entry, file) in placed.items()
    }


def to_floats(bits: npt.NDArray[Any], dtype: str) -> Floats:
    """Return stored bits as float32 values, exactly."""
    if dtype == "BF16":
        wide = np.empty(bits.shape, dtype=np.uint32)
        np.left_shift(bits, 16, out=wide, dtype=np.uint32)
        return wide.view(np.float32)
    if dtype == "F16":
        return bits.view(np.float16).astype(np.float32)
    return bits.view(np.float32)
