"""Locks between processes, which the kernel frees when their holder dies.

Where a file system has no such locks (some network mounts, FUSE), each holder leaves a file
beside the lock instead; see ``lock_entries``.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from modelvault.errors import PermissionRefused, ReadOnly, StorageError, VaultBusy
from modelvault.fsio.lock_entries import hold_entry
from modelvault.fsio.sharing import share_file
from modelvault.fsio.translation import UNSUPPORTED, every_error, storage_errors, translate

_NO_LOCKS = UNSUPPORTED | {errno.ENOLCK}
_PAUSE = 0.05


@contextlib.contextmanager
def lock(
    path: Path,
    *,
    shared: bool = False,
    wait: float = 0.0,
    transient: bool = False,
    reading: bool = False,
) -> Iterator[None]:
    """Hold a lock on ``path`` for the block; it is free again when the process dies.

    Args:
        path: Lock file; created when missing.
        shared: Several holders at once; an exclusive holder excludes all others.
        wait: Seconds to wait for other holders.
        transient: Remove the file at the end, where there is one lock for each of many
            things and the files would pile up. For exclusive locks.
        reading: The block writes nothing. Where no lock file can be made, because nothing can
            be written there, it goes without.

    Raises:
        VaultBusy: Another process holds it.
        StorageError: The file system refuses.
    """
    deadline = time.monotonic() + wait
    try:
        descriptor = _acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, deadline)
    except (PermissionRefused, ReadOnly):
        if not reading:
            raise
        yield
        return
    if descriptor is None:
        with hold_entry(path, shared=shared, deadline=deadline):
            yield
        return
    try:
        yield
    finally:
        if transient:
            with contextlib.suppress(OSError):  # a lock file that stays is only untidy
                path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def lock_folder(folder: Path, *, wait: float, what: str) -> Iterator[None]:
    """Hold a lock on an existing folder itself, in which no file of ours may appear.

    File systems that cannot lock a folder go without.

    Args:
        folder: The folder.
        wait: Seconds to wait for another holder.
        what: What another holder does, for the message: ``another install is at work here``.

    Raises:
        VaultBusy: Another process holds it.
        StorageError: The file system refuses.
    """
    deadline = time.monotonic() + wait
    with storage_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise VaultBusy(
                        f"{folder}: {what}", hint="wait for it to end, then run this again"
                    ) from error
                time.sleep(_PAUSE)
            except OSError as error:
                if error.errno in _NO_LOCKS | {errno.EBADF}:
                    break
                raise translate(error, folder) from error
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path, kind: int, deadline: float) -> int | None:
    """Return a descriptor that holds the lock on the file now at ``path``.

    None where its file system has no locks.
    """
    while True:
        descriptor, held = _open(path), False
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            held = _stands_at(path, descriptor)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise VaultBusy(
                    f"{path}: another modelvault process is at work here",
                    hint="wait for it to end, then run this again",
                ) from error
            time.sleep(_PAUSE)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise _refused(error, path) from error
        finally:
            if not held:
                os.close(descriptor)
        if held:
            return descriptor
        # Another process holds it, or the last holder has removed the file: once more.


def _refused(error: OSError, path: Path) -> StorageError:
    if error.errno == errno.EBADF:  # NFS: only who may write a file may lock it alone
        return PermissionRefused(
            f"{path}: an account that may not write this file cannot lock it",
            hint="run as a user who may read and write there",
        )
    return translate(error, path)


def _open(path: Path) -> int:
    """Return a descriptor of the lock file, made where it is missing.

    A file of another account is opened for reading, which is enough for a lock.
    """
    while True:
        for flags in (os.O_RDWR, os.O_RDONLY):
            with every_error(path), contextlib.suppress(FileNotFoundError):
                try:
                    return os.open(path, flags | os.O_CLOEXEC)
                except OSError as error:
                    if flags == os.O_RDONLY or error.errno not in {errno.EACCES, errno.EROFS}:
                        raise
        with every_error(path), contextlib.suppress(FileExistsError):
            created = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            share_file(created, path.parent)
            return created


def _stands_at(path: Path, descriptor: int) -> bool:
    with every_error(path):
        try:
            return os.path.samestat(path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False
