"""The weights of the model to convert, tensor by tensor or by rows.

Reading a tensor costs no more memory than the tensor.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import torch

from modelvault.core.safetensors_header import TensorEntry
from modelvault.errors import MalformedWeights, UnsupportedSource
from modelvault_converters.awq.raw import as_bytes
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.weights import open_weights

_MIB = 1024 * 1024
_BLOCK = 32 * _MIB
"""Bytes of a tensor that are held at once where it is streamed."""

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
"""Types of weights that are read."""


class Weights:
    """Open weight files; tensors by their name. What is read is held by whoever reads it."""

    def __init__(self, checkpoint: Checkpoint, stack: ExitStack) -> None:
        """Open a model's weight files until the stack is closed.

        Raises:
            SourceIncomplete: Files or tensors are missing.
            SizeMismatch: A file's length is not what the manifest promises.
            MalformedWeights: A file or the index is malformed, or a tensor is in two files.
            UnsupportedSource: There are no safetensors weights, or of an unreadable type.
        """
        placed = open_weights(checkpoint, stack)
        self.tensors = {name: entry for name, (entry, _) in placed.items()}
        self._files = {name: file for name, (_, file) in placed.items()}
        foreign = sorted({item.dtype for item in self.tensors.values()} - DTYPES.keys())
        if foreign:
            raise UnsupportedSource(
                f"the weights are of type {', '.join(foreign)}, not {', '.join(DTYPES)}: "
                "already quantised?",
                hint="convert the publisher's 16-bit model instead",
            )

    def read(self, name: str) -> torch.Tensor:
        """Return a whole tensor as stored.

        Raises:
            MalformedWeights: It holds NaN or infinity.
        """
        stored = self.tensors[name]
        return self._read(stored, 0, stored.shape)

    def blocks(self, name: str) -> Iterator[torch.Tensor]:
        """Yield a tensor in blocks of rows, as stored; their concatenation is the tensor.

        Raises:
            MalformedWeights: It holds NaN or infinity.
        """
        stored = self.tensors[name]
        if len(stored.shape) < 2 or stored.count * 4 <= _BLOCK:
            yield self.read(name)
            return
        width = stored.count // stored.shape[0]
        step = max(1, _BLOCK // (4 * width))
        for start in range(0, stored.shape[0], step):
            rows = min(step, stored.shape[0] - start)
            yield self._read(stored, start * width, (rows, *stored.shape[1:]))

    def rows(self, name: str, numbers: torch.Tensor) -> torch.Tensor:
        """Return some rows of a matrix as stored, ``[rows, width]``.

        Args:
            name: Of the matrix.
            numbers: Of the rows, int64 ``[rows]``.

        Raises:
            MalformedWeights: They hold NaN or infinity.
        """
        stored = self.tensors[name]
        width = stored.shape[1]
        found = [self._read(stored, number * width, (width,)) for number in numbers.tolist()]
        return torch.stack(found)

    def _read(self, stored: TensorEntry, start: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Return ``shape`` values from the ``start``-th on."""
        values = torch.empty(shape, dtype=DTYPES[stored.dtype], device="cpu")
        offset = stored.offset + start * values.element_size()
        self._files[stored.name].read_into(as_bytes(values), offset)
        if not bool(torch.isfinite(values).all()):
            raise MalformedWeights(
                f"tensor '{stored.name:.200}' holds NaN or infinity",
                hint="the checkpoint itself is broken: ask its publisher, or use another revision",
            )
        return values
