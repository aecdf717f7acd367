"""An open weight file, of whichever form: opened once, read in place, its length held to."""

import os
from abc import ABC, abstractmethod
from typing import ClassVar

from modelvault.core.protocol import SourceFile
from modelvault.core.safetensors_header import TensorEntry
from modelvault.errors import MalformedWeights
from modelvault_converters.checkpoint import wrong_size
from modelvault_converters.positioned import read_all


class OpenWeights(ABC):
    """An open weight file whose tensors are listed; a form of weights says how."""

    mend: ClassVar[str]
    """What to do about a file that contradicts itself; the hint of the error."""

    def __init__(self, file: SourceFile) -> None:
        """Open the file and list its tensors.

        Args:
            file: The weight file, and the size that the manifest promises.

        Raises:
            SizeMismatch: Its length is not what the manifest promises.
            UnsupportedSource: It asks for more than is read of such files.
            MalformedWeights: It is no such file, or contradicts itself.
        """
        self.path = file.path
        """Name inside the model, for messages."""
        self._descriptor = os.open(file.location, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._check_size(file)
            self.tensors = self._list(file)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer``, of bytes, with what stands at ``offset``, in bytes from the start.

        Raises:
            MalformedWeights: The file has become shorter than it was.
        """
        count = read_all(self._descriptor, buffer, offset)
        if count < len(buffer):
            raise self._malformed(f"ends at byte {offset + count}")

    def _check_size(self, file: SourceFile) -> None:
        if os.fstat(self._descriptor).st_size != file.size:
            raise wrong_size(file)

    @abstractmethod
    def _list(self, file: SourceFile) -> tuple[TensorEntry, ...]:
        """Return the tensors of the file, each within it."""

    def _malformed(self, what: str) -> MalformedWeights:
        return MalformedWeights(f"{self.path}: {what}", hint=self.mend)
