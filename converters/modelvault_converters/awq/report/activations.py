"""What passes from one layer to the next, on disk.

A set of sequences is kept twice: what enters a layer is read from one file while what leaves it
is written to the other. So a crash in the middle of a layer leaves that layer's inputs whole.
The files are as large as the activations, and the kernel keeps in memory what fits there.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import torch

from modelvault.errors import ConverterCrashed
from modelvault_converters.awq.raw import as_bytes
from modelvault_converters.positioned import read_all, write_all

SUFFIX = ".activations"


class Activations:
    """Sequences of equal shape, as they enter a layer and as they leave it."""

    def __init__(
        self, folder: Path, name: str, shape: tuple[int, int, int], stack: ExitStack, *, layer: int
    ) -> None:
        """Open the files, made where they are missing.

        Args:
            folder: Where they lie.
            name: Of the set.
            shape: Sequences, tokens a sequence, values a token; f32.
            stack: Closes the files.
            layer: Layer that the sequences enter next.
        """
        self.count = shape[0]
        self._shape = shape[1:]
        self._size = shape[1] * shape[2] * 4
        self._layer = layer
        self._descriptors: list[int] = []
        for file in self.names(name):
            descriptor = os.open(folder / file, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, descriptor)
            os.ftruncate(descriptor, self.count * self._size)
            self._descriptors.append(descriptor)

    @staticmethod
    def footprint(shape: tuple[int, int, int]) -> int:
        """Return the bytes that a set takes on disk."""
        return 2 * 4 * shape[0] * shape[1] * shape[2]

    @classmethod
    def are_in(cls, folder: Path, name: str, shape: tuple[int, int, int]) -> bool:
        """Return whether a folder holds a set's files in their full size."""
        paths = [folder / file for file in cls.names(name)]
        size = cls.footprint(shape) // 2
        return all(path.is_file() and path.stat().st_size == size for path in paths)

    @staticmethod
    def names(name: str) -> tuple[str, str]:
        """Return the names of a set's files."""
        return (f"{name}.0{SUFFIX}", f"{name}.1{SUFFIX}")

    def read(self, number: int) -> torch.Tensor:
        """Return a sequence as it enters the layer, f32 ``[length, width]``."""
        values = torch.empty(self._shape)
        descriptor = self._descriptors[self._layer % 2]
        if not read_all(descriptor, as_bytes(values), number * self._size):
            raise ConverterCrashed("the file of activations ended early")
        return values

    def write(self, number: int, values: torch.Tensor) -> None:
        """Note a sequence as it leaves the layer."""
        data = as_bytes(values.detach().cpu().contiguous())
        write_all(self._descriptors[(self._layer + 1) % 2], data, number * self._size)

    def flush(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._descriptors[(self._layer + 1) % 2])

    def turn(self) -> None:
        """Let what left the layer enter the next."""
        self._layer += 1
