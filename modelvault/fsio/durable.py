"""Durable writes: a file is there complete and flushed, or it is not there at all.

The order is restic's: written beside its target, fsynced, renamed, the folder fsynced.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from modelvault.fsio.translation import UNSUPPORTED, storage_errors

TEMPORARY_PREFIX = ".modelvault-"
"""Prefix of unpublished files, so that leftovers of a crash can be recognised."""


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, durably; return it."""
    if path.is_dir():
        return path
    make_folder(path.parent)
    with storage_errors(path):
        path.mkdir(exist_ok=True)
    sync_folder(path.parent)
    return path


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in UNSUPPORTED | {errno.EROFS}:  # some FUSE and network mounts
                raise
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def durable_file(target: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Yield a file to write; when the block ends well it stands at ``target``, durably.

    When the block fails nothing is left behind; after a crash only a temporary file is,
    recognisable by its prefix.

    Args:
        target: Final path; an existing file is replaced.
        mode: Permission bits of the result.

    Raises:
        StorageError: The file system refuses.
    """
    temporary = target.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
    with storage_errors(target):
        file = open(temporary, "xb", opener=_private)
        try:
            with file:
                yield file
                file.flush()
                set_mode(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(target.parent)


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner may read until it has its final mode."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write_durably(target: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put ``data`` at ``target``, durably, replacing what stood there.

    Raises:
        StorageError: The file system refuses.
    """
    with durable_file(target, mode=mode) as file:
        file.write(data)


def publish(source: Path, target: Path, *, mode: int) -> None:
    """Rename a complete file to its final name, durably.

    Args:
        source: A file on the same file system; its bytes are fsynced first.
        target: Final path; an existing file is replaced.
        mode: Permission bits of the result.
    """
    with storage_errors(target):
        descriptor = os.open(source, os.O_RDONLY)
        try:
            set_mode(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(source, target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def set_mode(descriptor: int, mode: int) -> None:
    """Set the permission bits of an open file of our own, where there are such bits.

    FAT and some FUSE file systems have none and refuse the call, each in its own words.
    """
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EPERM}:
            raise
