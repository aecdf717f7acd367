"""Many files, durable together: the order of ``durable``, each step once for all of them.

Written beside their targets, flushed, renamed, their folders flushed. Until ``publish`` none
has its name; after a crash some have theirs, each complete, and the others are temporary files,
recognisable by their prefix.
"""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from modelvault.fsio.advice import set_mode
from modelvault.fsio.durable import TEMPORARY_PREFIX
from modelvault.fsio.flushing import Flushing
from modelvault.fsio.sharing import share_folder
from modelvault.fsio.translation import every_error

Buffer = bytes | bytearray | memoryview

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class FileBatch:
    """Files below one folder that are published together; use it in a ``with`` block.

    The end of the block publishes what was written, also where an error ends it: each file is
    complete. What interrupts the block without being an error, as Ctrl-C does, clears it away.
    """

    def __init__(self, root: Path) -> None:
        """Begin without a file.

        Args:
            root: An existing folder; targets are in folders of it, on its file system.

        Raises:
            StorageError: The folder cannot be opened.
        """
        self._flushing = Flushing(root)
        self._prefix = f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}-"
        self._number = 0
        self._written: list[tuple[str, str]] = []
        self._folders: set[str] = set()
        self.size = 0
        """Bytes written and not yet published."""

    def __enter__(self) -> Self:
        """Return the batch itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish what was written, or clear it away."""
        try:
            if error is None:
                self.publish()
            elif isinstance(error, Exception):
                with contextlib.suppress(Exception):  # the first error is the one to report
                    self.publish()
        finally:
            self._discard()
            self._flushing.close()

    def __len__(self) -> int:
        """Return how many files were written and not yet published."""
        return len(self._written)

    def write(self, target: str, data: Buffer, *, mode: int) -> None:
        """Write a file; it gets its name with the others.

        Args:
            target: Final path, as text: a ``Path`` for each of many takes as long as the file.
                Its folder is made where it is missing, and an existing file is replaced.
            data: Its bytes.
            mode: Permission bits.

        Raises:
            StorageError: The file system refuses.
        """
        folder = os.path.dirname(target)
        if folder not in self._folders:
            self._make(folder)
        self._number += 1
        temporary = f"{folder}/{self._prefix}{self._number}"
        with every_error(target):
            descriptor = os.open(temporary, _FLAGS, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                set_mode(descriptor, mode)
            except BaseException:
                os.unlink(temporary)
                raise
            finally:
                os.close(descriptor)
        self._written.append((temporary, target))
        self.size += len(data)

    def publish(self) -> None:
        """Flush the bytes of every file, give each its name, flush the names.

        Raises:
            StorageError: The disk refuses.
        """
        if not self._written:
            return
        self._flushing.flush_files([temporary for temporary, _ in self._written])
        self._written.reverse()
        while self._written:
            temporary, target = self._written[-1]
            with every_error(target):
                os.replace(temporary, target)
            self._written.pop()
        self._flushing.flush_folders(self._folders)
        self._folders.clear()
        self.size = 0

    def _make(self, folder: str) -> None:
        """Take note of a folder whose entries change; make it where it is missing."""
        with every_error(folder):
            if not os.path.isdir(folder):
                Path(folder).mkdir(exist_ok=True)
                share_folder(Path(folder))
                self._folders.add(os.path.dirname(folder))
        self._folders.add(folder)

    def _discard(self) -> None:
        """Remove what was written and has no name."""
        for temporary, _ in self._written:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        self._written.clear()
