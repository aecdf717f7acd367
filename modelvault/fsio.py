"""The one way ModelVault touches a file system.

Invariants:
    * A published file is complete, flushed and named in one step: it is written beside
      its target, fsynced, renamed, and its folder fsynced (restic's order).
    * A name that comes from outside goes through ``safe_join``.
    * Every ``OSError`` an operator can meet leaves here as a ``StorageError`` that names
      the path.

Example:
    >>> write_durably(Path("/tmp/example.json"), b"{}")
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from modelvault.core.names import check_path
from modelvault.core.ports import Progress, Silence
from modelvault.core.storage_errors import storage_error
from modelvault.errors import (
    BadPath,
    NoSpace,
    StorageError,
    VaultBusy,
)

CHUNK = 4 * 1024 * 1024
"""Bytes moved at once: large enough for any disk, small enough for any host."""

TEMPORARY_PREFIX = ".modelvault-"
"""Prefix of unpublished files, so that leftovers of a crash can be recognised."""

_FICLONE = 0x40049409  # linux/fs.h: share extents copy-on-write

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS}
_NO_SHARING = _UNSUPPORTED | {errno.EXDEV, errno.EPERM}
_NO_LINK = _NO_SHARING | {errno.EMLINK, errno.EACCES}


class Placement(StrEnum):
    """How a file got to its place."""

    HARDLINK = "hardlink"
    REFLINK = "reflink"
    COPY = "copy"


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


def translate(error: OSError, path: Path | str) -> StorageError:
    """Return the storage error that stands for an operating system error."""
    return storage_error(error, f"{path}: {os.strerror(error.errno) if error.errno else error}")


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


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, durably; return it."""
    if path.is_dir():
        return path
    make_folder(path.parent)
    with storage_errors(path):
        path.mkdir(exist_ok=True)
    sync_folder(path.parent)
    return path


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _UNSUPPORTED | {errno.EROFS}:  # some FUSE and network mounts
                raise
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def durable_file(target: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Yield a file to write; when the block ends well it stands at ``target``, durably.

    When the block fails nothing is left behind; after a crash only a temporary file is,
    recognisable by its prefix.

    Args:
        target: Final path; an existing file is replaced.
        mode: Permission bits of the result.

    Raises:
        StorageError: The file system refuses.
    """
    temporary = target.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
    with storage_errors(target):
        file = open(temporary, "xb", opener=_private)
        try:
            with file:
                yield file
                file.flush()
                set_mode(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(target.parent)


def _private(path: str, flags: int) -> int:
    """Open a file that nobody else may read before it has its final mode."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write_durably(target: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put ``data`` at ``target``, durably, replacing what stood there.

    Raises:
        StorageError: The file system refuses.
    """
    with durable_file(target, mode=mode) as file:
        file.write(data)


def publish(source: Path, target: Path, *, mode: int) -> None:
    """Rename a complete file to its final name, durably.

    Args:
        source: A file on the same file system; its bytes are fsynced first.
        target: Final path; an existing file is replaced.
        mode: Permission bits of the result.
    """
    with storage_errors(target):
        descriptor = os.open(source, os.O_RDONLY)
        try:
            set_mode(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(source, target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def place(
    source: Path, target: Path, *, link: bool = True, progress: Progress | None = None
) -> Placement:
    """Make ``target`` hold the bytes of ``source``, with no second copy where possible.

    Tries a hardlink, then a reflink (shared extents, copy on write), then copies. The
    bytes are on disk on return; the folder's entry is not: callers that place many files
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
                return Placement.HARDLINK
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
        with open(source, "rb") as reader, open(target, "xb") as writer:
            try:
                placement = _copy(reader, writer, target.name, progress or Silence())
                os.fsync(writer.fileno())
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            return placement


def _copy(reader: BinaryIO, writer: BinaryIO, task: str, progress: Progress) -> Placement:
    try:
        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        return Placement.REFLINK
    except OSError as error:
        if error.errno not in _NO_SHARING:
            raise
    progress.begin(task, total=os.fstat(reader.fileno()).st_size)
    while chunk := reader.read(CHUNK):
        writer.write(chunk)
        progress.advance(task, len(chunk))
    writer.flush()
    progress.end(task)
    return Placement.COPY


def set_mode(descriptor: int, mode: int) -> None:
    """Set the permission bits of an open file of our own, where there are such bits.

    FAT and some FUSE file systems have none and refuse the call, each in its own words.
    """
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in _UNSUPPORTED | {errno.EPERM}:
            raise


def free_bytes(folder: Path) -> int:
    """Return the bytes an unprivileged user can still write below ``folder``."""
    with storage_errors(folder):
        return shutil.disk_usage(_existing(folder)).free


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
    while not path.exists() and path != path.parent:
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
            if error.errno not in _UNSUPPORTED:
                raise
            os.ftruncate(descriptor, size)


@contextlib.contextmanager
def lock(
    path: Path, *, shared: bool = False, wait: float = 0.0, transient: bool = False
) -> Iterator[None]:
    """Hold a lock on ``path`` for the block; the kernel frees it when the process dies.

    Args:
        path: Lock file; created when missing.
        shared: Several holders at once; an exclusive holder excludes all others.
        wait: Seconds to wait for other holders.
        transient: Remove the file at the end, where there is one lock for each of many
            things and the files would pile up. For exclusive locks.

    Raises:
        VaultBusy: Another process holds it.
    """
    deadline = time.monotonic() + wait
    descriptor = _acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, deadline)
    try:
        yield
    finally:
        if transient:
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, kind: int, deadline: float) -> int:
    """Return a descriptor that holds the lock on the file now at ``path``."""
    while True:
        with storage_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _stands_at(path, descriptor):
                return descriptor
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise VaultBusy(
                    f"{path}: another modelvault process is at work here",
                    hint="wait for it to end, then run this again",
                ) from error
            time.sleep(0.05)
        # Held by somebody, or the last holder has removed the file meanwhile: once more.
        os.close(descriptor)


def _stands_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_regular(path: Path) -> bool:
    """Return whether ``path`` is a regular file and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
