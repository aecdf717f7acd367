"""Paths that came from outside, and what stands there."""

import stat
from pathlib import Path

from modelvault.core.names import check_path
from modelvault.errors import BadPath


def safe_join(root: Path, relative: str) -> Path:
    """Return ``root / relative`` for a path that came from outside.

    Raises:
        BadPath: The path is unsafe, or an existing part of it is a symbolic link.
    """
    path = root
    for part in check_path(relative).split("/"):
        path = path / part
        if path.is_symlink():
            raise BadPath(f"'{path}' is a symbolic link: refused")
    return path


def is_regular(path: Path) -> bool:
    """Return whether ``path`` is a regular file and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
