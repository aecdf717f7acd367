"""What an error of the operating system means for the disk or medium that it tells of.

Example:
    >>> storage_error(OSError(errno.ENOSPC, "full"), "/vault: full")
    NoSpace('/vault: full')
"""

import errno
from collections.abc import Mapping

from modelvault.errors import (
    MediumVanished,
    NoSpace,
    PermissionRefused,
    ReadOnly,
    StorageError,
)

_KINDS: Mapping[type[StorageError], frozenset[int]] = {
    NoSpace: frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}),  # FAT32 ends at 4 GiB a file
    ReadOnly: frozenset({errno.EROFS}),
    PermissionRefused: frozenset({errno.EACCES, errno.EPERM}),
    MediumVanished: frozenset(
        {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ENOMEDIUM}
    ),
}
_HINTS: Mapping[type[StorageError], str] = {
    NoSpace: "free some space or use another disk, then run this again",
    ReadOnly: "remount it writable, or choose another folder",
    PermissionRefused: "run as a user who may write there",
    MediumVanished: "check the medium and its cable, then run this again",
}


def storage_error(error: OSError, message: str) -> StorageError:
    """Return the storage error that stands for an operating system error, saying ``message``."""
    for kind, numbers in _KINDS.items():
        if error.errno in numbers:
            return kind(message, hint=_HINTS[kind])
    return StorageError(message)
