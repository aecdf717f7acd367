"""What passes from one layer to the next, kept in files."""

import os
from pathlib import Path

import torch

from modelvault.errors import ConverterCrashed


class Activations:
    """Sequences of equal shape in a file, read and written one at a time."""

    def __init__(self, path: Path, count: int, length: int, width: int) -> None:
        """Create the file.

        Args:
            path: Must not exist.
            count: Number of sequences.
            length: Tokens a sequence.
            width: Values a token, f32.
        """
        self.count = count
        self._shape = (length, width)
        self._size = length * width * 4
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)  # it lives as long as the descriptor: a crash leaves nothing
        os.ftruncate(self._descriptor, count * self._size)

    def close(self) -> None:
        """Give the space back."""
        os.close(self._descriptor)

    def read(self, number: int) -> torch.Tensor:
        """Return a sequence, f32 ``[length, width]``."""
        values = torch.empty(self._shape)
        view = values.numpy().data.cast("B")
        done = 0
        while done < self._size:
            count = os.preadv(self._descriptor, [view[done:]], number * self._size + done)
            if count == 0:
                raise ConverterCrashed("the file of activations ended early")
            done += count
        return values

    def write(self, number: int, values: torch.Tensor) -> None:
        """Replace a sequence."""
        view = values.contiguous().numpy().data.cast("B")
        done = 0
        while done < self._size:
            done += os.pwrite(self._descriptor, view[done:], number * self._size + done)
