"""Locks between processes, which the kernel frees when their holder dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from modelvault.errors import VaultBusy
from modelvault.fsio.translation import storage_errors


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
        # Another process holds it, or the last holder has removed the file: once more.
        os.close(descriptor)


def _stands_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
