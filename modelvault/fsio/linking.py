"""A second name for the same bytes, or a copy where the file system allows no less."""

import errno
import fcntl
import os
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from modelvault.core.ports import Progress, Silence
from modelvault.fsio.advice import flush
from modelvault.fsio.translation import UNSUPPORTED, storage_errors

CHUNK = 4 * 1024 * 1024
"""Bytes moved at once: large enough for any disk, small enough for any host."""

_FICLONE = 0x40049409  # linux/fs.h: share extents copy-on-write

_NO_SHARING = UNSUPPORTED | {errno.EXDEV, errno.EPERM, errno.EACCES}
_NO_LINK = _NO_SHARING | {errno.EMLINK}


class LinkMode(StrEnum):
    """How a file came to hold the bytes of another."""

    HARDLINK = "hardlink"
    REFLINK = "reflink"
    COPY = "copy"


def link_or_copy(
    source: Path, target: Path, *, link: bool = True, progress: Progress | None = None
) -> LinkMode:
    """Make ``target`` hold the bytes of ``source``, with no second copy where possible.

    Tries a hardlink, then a reflink (shared extents, copy on write), then copies. The
    bytes are on disk on return; the folder's entry is not: callers that make many files
    flush folders once with ``sync_folder``.

    Args:
        source: An existing file.
        target: A path where nothing stands.
        link: False to rule out hardlinks, where the target may be modified in place.
        progress: Told about copied bytes, under the target's name.

    Returns:
        How it was done.

    Raises:
        FileExistsError: Something stands at ``target``.
        StorageError: The file system refuses.
    """
    with storage_errors(target):
        if link:
            try:
                os.link(source, target)
                return LinkMode.HARDLINK
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
        with open(source, "rb") as reader, open(target, "xb") as writer:
            try:
                mode = _copy(reader, writer, target.name, progress or Silence())
                flush(writer.fileno())
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            return mode


def reflink(source: Path, target: Path) -> bool:
    """Make ``target`` share the extents of ``source``, copy on write; return whether it does.

    Where the file system cannot, nothing is left at ``target``.

    Args:
        source: An existing file.
        target: A path where nothing stands.

    Raises:
        FileExistsError: Something stands at ``target``.
        StorageError: The file system refuses.
    """
    with (
        storage_errors(target),
        open(source, "rb") as reader,
        open(target, "xb") as writer,
    ):
        try:
            shared = _share(reader, writer)
            if shared:
                flush(writer.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        if not shared:
            target.unlink()
        return shared


def _share(reader: BinaryIO, writer: BinaryIO) -> bool:
    try:
        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except OSError as error:
        if error.errno not in _NO_SHARING:
            raise
        return False
    return True


def _copy(reader: BinaryIO, writer: BinaryIO, task: str, progress: Progress) -> LinkMode:
    if _share(reader, writer):
        return LinkMode.REFLINK
    progress.begin(task, total=os.fstat(reader.fileno()).st_size)
    while chunk := reader.read(CHUNK):
        writer.write(chunk)
        progress.advance(task, len(chunk))
    writer.flush()
    progress.end(task)
    return LinkMode.COPY
