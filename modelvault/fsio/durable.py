"""Durable writes: a file is there complete and flushed, or it is not there at all.

The order is restic's: written beside its target, fsynced, renamed, the folder fsynced.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from modelvault.errors import StorageError
from modelvault.fsio.advice import flush, set_mode
from modelvault.fsio.sharing import share_folder
from modelvault.fsio.translation import every_error, storage_errors

TEMPORARY_PREFIX = ".modelvault-"
"""Prefix of unpublished files, so that leftovers of a crash can be recognised."""


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, durably; return it.

    Raises:
        StorageError: The file system refuses, or something else stands there.
    """
    with every_error(path):
        if path.is_dir():
            return path
        make_folder(path.parent)
        try:
            path.mkdir()
        except FileExistsError as error:
            if path.is_dir():  # another process was quicker
                return path
            raise _occupied(path) from error
        share_folder(path)
    sync_folder(path.parent)
    return path


def _occupied(path: Path) -> StorageError:
    if path.is_symlink():
        return StorageError(
            f"{path}: a link to {os.readlink(path)}, which is not there",
            hint="mount the disk that it leads to, or remove the link",
        )
    return StorageError(
        f"{path}: a file stands where a folder is needed", hint="move it away, or name another"
    )


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            flush(descriptor)
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
                flush(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
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
