"""Giving a complete file its final name: by a rename, or by a copy where that is not possible.

A rename is impossible to another disk, as where a vault's ``blobs/`` is a mount of its own or
a link, and of little use for a file of another account of the group, whose mode only that
account may set. Then the bytes are copied beside the target, shared where the file system can,
and compared before they get the name.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path

from modelvault.core.digest import Digest
from modelvault.errors import DigestMismatch
from modelvault.fsio.advice import flush, set_mode
from modelvault.fsio.durable import durable_file, sync_folder
from modelvault.fsio.linking import CHUNK
from modelvault.fsio.translation import every_error, storage_errors


def publish(source: Path, target: Path, *, mode: int, expected: Digest | None = None) -> None:
    """Give a complete file its final name, durably; the former name is gone afterwards.

    Args:
        source: The file; its bytes are flushed first.
        target: Final path; an existing file is replaced.
        mode: Permission bits of the result.
        expected: What the bytes are known to hash to; a copy has to agree.

    Raises:
        DigestMismatch: The bytes changed while they were copied; ``source`` is still there.
        StorageError: The file system refuses.
    """
    with storage_errors(target):
        if not (_settle(source, mode) and _rename(source, target)):
            _copy(source, target, mode=mode, expected=expected)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def _settle(source: Path, mode: int) -> bool:
    """Flush a file and set its mode; return whether it is as it has to be."""
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        set_mode(descriptor, mode)
        flush(descriptor)
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found.st_uid == os.geteuid() or stat.S_IMODE(found.st_mode) == mode


def _rename(source: Path, target: Path) -> bool:
    """Rename a file; return False where it is on another file system."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _copy(source: Path, target: Path, *, mode: int, expected: Digest | None) -> None:
    hasher = hashlib.sha256()
    with durable_file(target, mode=mode) as writer:
        with every_error(source), open(source, "rb", buffering=0) as reader:
            buffer = memoryview(bytearray(CHUNK))
            while count := reader.readinto(buffer):
                hasher.update(buffer[:count])
                writer.write(buffer[:count])
        if expected is not None and hasher.hexdigest() != expected.hex:
            raise DigestMismatch(
                f"{source}: hashes to {hasher.hexdigest()} instead of {expected.hex}: its disk"
                " has changed it",
                hint="check that disk, then run this again",
            )
    source.unlink()
