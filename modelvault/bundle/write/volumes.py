"""Writing volumes: numbered carriers of at most N bytes, each flushed before the next.

Writing back starts every few megabytes and not with the flush, so that the disk works while
the processor hashes.
"""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from modelvault import fsio
from modelvault.bundle.format.index import HEAD, MOST_CARRIERS, Carrier
from modelvault.bundle.format.layouts.volumes import volume_name
from modelvault.core.digest import Digest
from modelvault.errors import BadOption

Buffer = bytes | bytearray | memoryview

_STEP = 4 * 1024 * 1024
"""Bytes after which writing back starts."""


class VolumeWriter:
    """Appends stored pieces to volumes; use it in a ``with`` block."""

    def __init__(self, folder: Path, volume_size: int) -> None:
        """Write into an empty folder.

        Args:
            folder: Where volumes go.
            volume_size: Most bytes of one volume.
        """
        self._folder = folder
        self._volume_size = volume_size
        self._carriers: list[Carrier] = []
        self._descriptor = -1
        self._offset = 0
        self._released = 0
        self._head = bytearray()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the open volume; only ``finish`` makes it count."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def remaining(self) -> int:
        """Bytes that the open volume still takes."""
        return self._volume_size - self._offset

    def append(self, stored: Buffer) -> tuple[int, int]:
        """Write a stored piece of at most ``remaining`` bytes.

        Returns:
            The carrier's position, and the offset in it.

        Raises:
            BadOption: There would be too many volumes.
            StorageError: The medium refuses.
        """
        if self._descriptor < 0:
            self._open()
        offset, view = self._offset, memoryview(stored)
        if len(view) > self.remaining:
            raise ValueError("a piece is larger than what its volume still takes")
        if len(self._head) < HEAD:
            self._head += view[: HEAD - len(self._head)]
        with fsio.storage_errors(self._path()):
            while view:
                count = os.pwrite(self._descriptor, view, self._offset)
                self._offset += count
                view = view[count:]
            if self._offset >= self._released + _STEP:
                # Starts writing back without waiting, and keeps the page cache small.
                length = self._offset - self._released
                fsio.advise(self._descriptor, self._released, length, os.POSIX_FADV_DONTNEED)
                self._released = self._offset
        return len(self._carriers), offset

    def roll(self) -> None:
        """Make the open volume durable; the next piece begins another."""
        if self._descriptor < 0:
            return
        with fsio.storage_errors(self._path()):
            fsio.set_mode(self._descriptor, 0o644)
            fsio.flush(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1
        self._carriers.append(
            Carrier(
                name=volume_name(len(self._carriers)),
                size=self._offset,
                head=Digest(hashlib.sha256(self._head).hexdigest()),
            )
        )
        self._offset = self._released = 0
        self._head = bytearray()

    def finish(self) -> tuple[Carrier, ...]:
        """Make the last volume durable; return all of them in order."""
        self.roll()
        return tuple(self._carriers)

    def _path(self) -> Path:
        return self._folder / volume_name(len(self._carriers))

    def _open(self) -> None:
        if len(self._carriers) >= MOST_CARRIERS:
            raise BadOption(
                f"more than {MOST_CARRIERS} volumes", hint="choose larger volumes: --volume-size"
            )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with fsio.storage_errors(self._path()):
            self._descriptor = os.open(self._path(), flags, 0o644)
