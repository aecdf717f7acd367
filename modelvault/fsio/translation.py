"""What an error of the operating system becomes: a storage error that names the path."""

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from modelvault.core.storage_errors import storage_error
from modelvault.errors import StorageError

UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS})
"""How file systems say that they lack a feature: FAT, some FUSE and network mounts."""


class _Translation:
    """Translates what its block raises; a class, for each of many small files passes a few."""

    __slots__ = ("_every", "_path")

    def __init__(self, path: Path | str, *, every: bool) -> None:
        self._path = path
        self._every = every

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        if self._every:
            raise translate(error, _named(error) or self._path) from error
        if not isinstance(error, FileNotFoundError | FileExistsError):
            raise translate(error, self._path) from error


def storage_errors(path: Path | str) -> AbstractContextManager[None]:
    """Return what translates operating system errors of a block into the storage errors.

    ``FileNotFoundError`` and ``FileExistsError`` pass through: their meaning is the
    caller's business.

    Args:
        path: What the block works on, for the message.
    """
    return _Translation(path, every=False)


def every_error(path: Path | str) -> AbstractContextManager[None]:
    """Return what translates every such error of a block, where no absence is expected.

    Args:
        path: What the block works on; where the error names another path, that is said.
    """
    return _Translation(path, every=True)


def translate(error: OSError, path: Path | str) -> StorageError:
    """Return the storage error that stands for an operating system error."""
    return storage_error(error, f"{path}: {os.strerror(error.errno) if error.errno else error}")


def _named(error: OSError) -> str:
    """Return the path that an error names itself; nothing where it names none."""
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else ""
