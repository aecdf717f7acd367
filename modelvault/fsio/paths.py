"""Paths that came from outside, and what stands there."""

import errno
import os
import stat
from pathlib import Path

from modelvault.core.names import check_path
from modelvault.errors import BadPath
from modelvault.fsio.translation import translate

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def safe_join(root: Path, relative: str) -> Path:
    """Return ``root / relative`` for a path that came from outside.

    Raises:
        BadPath: The path is unsafe, or an existing part of it is a symbolic link.
        StorageError: The file system refuses.
    """
    path = root
    for part in check_path(relative).split("/"):
        path = path / part
        found = _look(path, follow=False)
        if found is not None and stat.S_ISLNK(found.st_mode):
            raise BadPath(f"'{path}' is a symbolic link: refused")
    return path


def is_regular(path: Path) -> bool:
    """Return whether ``path`` is a regular file and not a link to one.

    Raises:
        StorageError: The file system refuses to say.
    """
    found = _look(path, follow=False)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder, or a link to one.

    Raises:
        StorageError: The file system refuses to say.
    """
    found = _look(path, follow=True)
    return found is not None and stat.S_ISDIR(found.st_mode)


def stands(path: Path) -> bool:
    """Return whether something is at ``path``; a link that leads nowhere is nothing.

    Raises:
        StorageError: The file system refuses to say.
    """
    return _look(path, follow=True) is not None


def _look(path: Path, *, follow: bool) -> os.stat_result | None:
    try:
        return path.stat(follow_symlinks=follow)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise translate(error, path) from error
