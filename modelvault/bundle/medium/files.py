"""Opening and reading the files of a bundle's folder: bounded, never through a link.

Whoever prepared the medium may have put anything there: links, pipes, files that grow.
Every file is opened without following links and must be regular; every read has a bound
that was known before.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from modelvault import fsio
from modelvault.errors import BundleDamaged, MediumVanished, StorageError

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def medium_errors(folder: Path) -> Iterator[None]:
    """Translate every operating system error of the block; nothing else is changed.

    A file or folder that is gone, or stands there unexpectedly, in the middle of the work
    means that the medium was removed or that another process changed it.

    Args:
        folder: The medium's folder, for messages.
    """
    try:
        with fsio.storage_errors(folder):
            yield
    except FileNotFoundError as error:
        raise MediumVanished(
            f"{error.filename or folder}: gone while it was in use",
            hint="insert the medium again, then run this again",
        ) from error
    except FileExistsError as error:
        raise StorageError(
            f"{error.filename or folder}: appeared while it was in use",
            hint="let no other program write here, then run this again",
        ) from error


def open_regular(path: Path) -> int:
    """Return a descriptor of a regular file, open for reading.

    Raises:
        FileNotFoundError: Nothing stands there.
        BundleDamaged: A symbolic link, folder, pipe or device stands there.
        StorageError: The operating system refuses.
    """
    with fsio.storage_errors(path):
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise BundleDamaged(f"'{path}' is a symbolic link: refused") from error
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleDamaged(f"'{path}' is not a regular file")
    return descriptor


def read_capped(path: Path, limit: int) -> bytes:
    """Return at most ``limit`` + 1 bytes of a regular file; more than ``limit`` is too many.

    Raises:
        FileNotFoundError: Nothing stands there.
        BundleDamaged: Not a regular file.
        StorageError: The operating system refuses.
    """
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file, fsio.storage_errors(path):
        return file.read(limit + 1)
