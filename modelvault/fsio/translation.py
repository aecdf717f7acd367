"""What an error of the operating system becomes: a storage error that names the path."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from modelvault.core.storage_errors import storage_error
from modelvault.errors import StorageError

UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS})
"""How file systems say that they lack a feature: FAT, some FUSE and network mounts."""


@contextlib.contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Translate operating system errors of the block into the storage errors.

    ``FileNotFoundError`` and ``FileExistsError`` pass through: their meaning is the
    caller's business.

    Args:
        path: What the block works on, for the message.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise translate(error, path) from error


@contextlib.contextmanager
def every_error(path: Path | str) -> Iterator[None]:
    """Translate every operating system error of the block, where no absence is expected.

    Args:
        path: What the block works on; where the error names another path, that is said.
    """
    try:
        yield
    except OSError as error:
        raise translate(error, _named(error) or path) from error


def translate(error: OSError, path: Path | str) -> StorageError:
    """Return the storage error that stands for an operating system error."""
    return storage_error(error, f"{path}: {os.strerror(error.errno) if error.errno else error}")


def _named(error: OSError) -> str:
    """Return the path that an error names itself; nothing where it names none."""
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else ""
