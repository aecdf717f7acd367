"""Capacity: what is free on a file system, and bytes reserved for what is to come."""

import os
from pathlib import Path

from modelvault.errors import NoSpace
from modelvault.fsio.paths import stands
from modelvault.fsio.translation import UNSUPPORTED, every_error, storage_errors

_UNKNOWN = 2**62
"""Free bytes of a file system that does not say: whether it is full shows when it is written."""


def free_bytes(folder: Path) -> int:
    """Return the bytes an unprivileged user can still write below ``folder``.

    Very many where the file system does not say.

    Raises:
        StorageError: The file system refuses.
    """
    place = _existing(folder)
    with every_error(place):
        try:
            found = os.statvfs(place)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return _UNKNOWN
            raise
    return found.f_bavail * found.f_frsize if found.f_blocks else _UNKNOWN


def require_space(folder: Path, needed: int) -> None:
    """Check that ``needed`` bytes fit on the file system of ``folder``.

    Raises:
        NoSpace: They do not; the message says how many are missing.
    """
    free = free_bytes(folder)
    if needed > free:
        raise NoSpace(
            f"{folder}: {needed} bytes are needed and {free} are free",
            hint=f"free at least {needed - free} bytes, or choose a folder on another disk",
        )


def _existing(path: Path) -> Path:
    while not stands(path) and path != path.parent:
        path = path.parent
    return path


def preallocate(descriptor: int, size: int, path: Path) -> None:
    """Reserve ``size`` bytes for an open file, so that a full disk shows now, not later.

    File systems without reservation (FAT, some network mounts) get their length set.
    """
    if size == 0:
        return
    with storage_errors(path):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            os.ftruncate(descriptor, size)
