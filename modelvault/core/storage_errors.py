"""What an error of the operating system means for the disk or medium that it tells of.

Example:
    >>> storage_error(OSError(errno.ENOSPC, "full"), "/vault: full")
    NoSpace('/vault: full')
"""

import errno
from typing import NamedTuple

from modelvault.errors import (
    HostExhausted,
    MediumVanished,
    NoSpace,
    PermissionRefused,
    ReadOnly,
    StorageError,
)


class _Kind(NamedTuple):
    error: type[StorageError]
    numbers: frozenset[int]
    hint: str


_KINDS = (
    _Kind(
        NoSpace,
        frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}),  # FAT32 ends at 4 GiB a file
        "free some space or use another disk, then run this again",
    ),
    _Kind(ReadOnly, frozenset({errno.EROFS}), "remount it writable, or choose another folder"),
    _Kind(
        PermissionRefused,
        frozenset({errno.EACCES, errno.EPERM}),
        "run as a user who may read and write there",
    ),
    _Kind(
        MediumVanished,
        frozenset(
            {
                *(errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN),
                *(errno.ENOMEDIUM, errno.EREMOTEIO, errno.EUCLEAN, errno.EBADMSG),
                *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ESHUTDOWN),
            }
        ),
        "check the medium and its cable, or the server it is on, then run this again",
    ),
    _Kind(
        HostExhausted,
        frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS}),
        "close other programs, or raise the limits of memory, processes and open files (ulimit -a)",
    ),
    _Kind(
        StorageError,
        frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}),
        "see what stands there: a file, a folder or a link that leads nowhere may be in the way",
    ),
    _Kind(StorageError, frozenset({errno.ENAMETOOLONG}), "choose a folder with a shorter path"),
    _Kind(
        StorageError,
        frozenset({errno.EBUSY, errno.ETXTBSY}),
        "another program uses it: wait for it to end, then run this again",
    ),
)


def storage_error(error: OSError, message: str) -> StorageError:
    """Return the storage error that stands for an operating system error, saying ``message``."""
    for kind in _KINDS:
        if error.errno in kind.numbers:
            return kind.error(message, hint=kind.hint)
    return StorageError(message)
