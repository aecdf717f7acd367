"""Calls that some file systems do not know, and what is done without them.

A flush that a file system does not offer, permission bits that it does not keep, hints on the
page cache that it does not take: none of them is a reason to stop. An error of the disk is one.
"""

import contextlib
import errno
import os

from modelvault.fsio.translation import UNSUPPORTED

_NO_MODES = UNSUPPORTED | {errno.EPERM, errno.EACCES}


def flush(descriptor: int) -> None:
    """Make an open file or folder durable, as far as its file system knows how to.

    Raises:
        OSError: The disk fails or is full.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EROFS}:  # nothing to flush on a read-only one
            raise


def flush_data(descriptor: int) -> None:
    """Make the bytes of an open file durable, as far as its file system knows how to.

    Raises:
        OSError: The disk fails or is full.
    """
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def set_mode(descriptor: int, mode: int) -> None:
    """Set the permission bits of an open file of our own, where there are such bits.

    FAT and some FUSE and network file systems have none and refuse the call, each in its own
    words. Where the bits matter, see ``sharing.keeps_modes``.
    """
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def advise(descriptor: int, offset: int, length: int, advice: int) -> None:
    """Tell the kernel how a part of an open file will be used; it may not want to know.

    Args:
        descriptor: Of the file.
        offset: Where the part begins, in bytes.
        length: Its bytes; 0 for the rest of the file.
        advice: One of ``os.POSIX_FADV_…``.
    """
    with contextlib.suppress(OSError):  # of no consequence but speed
        os.posix_fadvise(descriptor, offset, length, advice)
