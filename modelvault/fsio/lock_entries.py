"""Locks on file systems that have none: every holder is a file beside the lock.

A holder writes its entry first and looks at the others' then. Of two that come at the same
time at least one sees the other, and gives way. An entry names the process that made it. One
of this host whose process is gone is removed; of one of another host, or of before a restart,
nobody here can tell whether its process lives, and the message says which file to remove.
"""

import contextlib
import hashlib
import os
import random
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from modelvault.errors import VaultBusy
from modelvault.fsio.translation import every_error

_ENTRY = re.compile(r".+\.(?P<kind>[rw])-(?P<scope>[0-9a-f]{12})-(?P<pid>\d+)-(?P<start>\d+)-\w+")
_PAUSE = 0.05


@contextlib.contextmanager
def hold_entry(path: Path, *, shared: bool, deadline: float) -> Iterator[None]:
    """Hold a lock by an entry beside ``path`` for the block.

    Args:
        path: The lock.
        shared: Several holders at once; an exclusive holder excludes all others.
        deadline: Until when to wait for other holders, by the monotonic clock.

    Raises:
        VaultBusy: Another process holds it.
        StorageError: The file system refuses.
    """
    entry = _acquire(path, shared=shared, deadline=deadline)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # who comes next sees that this process is gone
            entry.unlink(missing_ok=True)


def is_lock_entry(name: str) -> bool:
    """Return whether a file of this name stands for a holder of a lock."""
    return _ENTRY.fullmatch(name) is not None


def _acquire(path: Path, *, shared: bool, deadline: float) -> Path:
    """Return the entry that holds the lock."""
    name = f"{path.name}.{'r' if shared else 'w'}-{_scope()}-{os.getpid()}"
    entry = path.with_name(f"{name}-{_start(os.getpid())}-{os.urandom(6).hex()}")
    while True:
        with every_error(entry):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(entry, flags, 0o644)
            try:
                os.write(descriptor, f"{os.uname().nodename} {os.getpid()}\n".encode())
            finally:
                os.close(descriptor)
            other = _other_holder(path, entry, shared=shared)
            if other is None:
                return entry
            entry.unlink()
        if time.monotonic() >= deadline:
            raise _busy(path, other)
        time.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not keep step


def _other_holder(path: Path, own: Path, *, shared: bool) -> Path | None:
    """Return the entry of a live holder that excludes this one; dead ones are removed."""
    for name in sorted(os.listdir(path.parent)):
        found = _ENTRY.fullmatch(name)
        if found is None or name == own.name or not name.startswith(f"{path.name}."):
            continue
        if shared and found["kind"] == "r":
            continue
        if found["scope"] != _scope() or _start(int(found["pid"])) == int(found["start"]):
            return path.with_name(name)
        path.with_name(name).unlink(missing_ok=True)
    return None


def _busy(path: Path, other: Path) -> VaultBusy:
    try:
        holder = other.read_text("utf-8", "replace").strip()[:100] or "?"
    except OSError:
        holder = "?"
    host, _, process = holder.rpartition(" ")
    return VaultBusy(
        f"{path}: another modelvault process is at work here: process {process} on host {host}",
        hint="wait for it to end, then run this again; if it is gone (this file system has no"
        f" locks that would tell), remove {other}",
    )


@cache
def _scope() -> str:
    """Return what tells this kernel, and this container's processes, from others."""
    words = [os.uname().nodename]
    with contextlib.suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        words.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256(" ".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _start(pid: int) -> int:
    """Return when a process began, in ticks since the host did; -1 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return -1
