"""Flushing many files or folders at once: by one call where the system has a true one.

``syncfs`` writes back everything of a file system, so that twenty thousand files cost as much
as their bytes. It is used where it promises what ``fsync`` does: on file systems of local disks,
and since Linux 5.8, which reports what could not be written. Elsewhere each file is flushed,
several at a time, so that the disk can take them together.

Source: https://man7.org/linux/man-pages/man2/syncfs.2.html
"""

import os
import re
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

from modelvault.fsio.advice import flush
from modelvault.fsio.durable import sync_folder
from modelvault.fsio.translation import UNSUPPORTED, storage_errors

FEW = 64
"""Files or folders up to which each is flushed by itself: that waits for no one else's bytes."""

_AT_ONCE = 8
_REPORTS_ERRORS = (5, 8)
"""Linux from which ``syncfs`` reports failures of writing back."""
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})
"""Magic numbers of ext4, XFS, Btrfs, F2FS and tmpfs. Network and FUSE file systems may keep
``syncfs`` to themselves and not pass it to their server; an overlay hides its disk's errors.

Source: linux/magic.h
"""


class Flushing:
    """Flushes what is written below one folder; open it before the first byte is written.

    The kernel tells a failure of writing back to those who had the file system open when it
    happened, even if that was long before the flush.
    """

    def __init__(self, root: Path) -> None:
        """Look at the file system.

        Args:
            root: A folder; what is flushed lies on the same file system.

        Raises:
            StorageError: The folder cannot be opened.
        """
        self._root = root
        with storage_errors(root):
            self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._whole: bool | None = None

    def close(self) -> None:
        """Close the folder."""
        os.close(self._descriptor)

    def flush_files(self, paths: Collection[str]) -> None:
        """Make the bytes of files durable.

        Raises:
            StorageError: The disk refuses.
        """
        self._flush(paths, _sync_file)

    def flush_folders(self, paths: Collection[str]) -> None:
        """Make the entries of folders durable.

        Raises:
            StorageError: The disk refuses.
        """
        self._flush(paths, lambda path: sync_folder(Path(path)))

    def _flush(self, paths: Collection[str], flush_one: Callable[[str], None]) -> None:
        if len(paths) <= FEW:
            for path in paths:
                flush_one(path)
            return
        if self._whole is None:
            self._whole = _syncs_whole(self._descriptor)
        if self._whole:
            with storage_errors(self._root):
                self._whole = sync_file_system(self._descriptor)
            if self._whole:
                return
        from concurrent.futures import ThreadPoolExecutor  # start-up does not pay for it

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="flush") as pool:
            for done in [pool.submit(flush_one, path) for path in paths]:
                done.result()


def sync_file_system(descriptor: int) -> bool:
    """Flush the file system that an open file is on; return False where it cannot be.

    Raises:
        OSError: Something could not be written back.
    """
    import ctypes

    if _libc().syncfs(descriptor) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


def _sync_file(path: str) -> None:
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            flush(descriptor)
        finally:
            os.close(descriptor)


@cache
def _libc() -> Any:
    """Return the C library, loaded when many files are flushed: start-up does not pay for it."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _syncs_whole(descriptor: int) -> bool:
    """Return whether one ``syncfs`` does here what ``fsync`` of each file does."""
    import ctypes

    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if os.uname().sysname != "Linux" or release is None:
        return False
    if (int(release[1]), int(release[2])) < _REPORTS_ERRORS:
        return False
    if not all(hasattr(_libc(), name) for name in ("syncfs", "fstatfs")):
        return False
    status = ctypes.create_string_buffer(256)  # struct statfs begins with the magic number, a long
    if _libc().fstatfs(descriptor, status) != 0:
        return False
    return ctypes.c_long.from_buffer(status).value in _LOCAL
