"""Locks between processes, on file systems that have them and on those that have none."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault import fsio
from modelvault.errors import PermissionRefused, StorageError, VaultBusy

NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL]


def refuse_with(number: int) -> Callable[[int, int], None]:
    """Return a ``flock`` of a file system that has none."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture(params=[None, *NO_LOCKS], ids=lambda number: errno.errorcode.get(number, "flock"))
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a lock's path on a file system with locks, and on several without."""
    if request.param is not None:
        monkeypatch.setattr(fcntl, "flock", refuse_with(request.param))
    return tmp_path / "vault.lock"


def test_exclusive_lock_excludes_everybody(path: Path) -> None:
    """Neither a second exclusive nor a shared holder gets in, and afterwards both do."""
    with fsio.lock(path):
        for shared in (False, True):
            with pytest.raises(VaultBusy, match="at work here"), fsio.lock(path, shared=shared):
                pass
    with fsio.lock(path):
        pass


def test_shared_lock_excludes_only_those_who_want_it_alone(path: Path) -> None:
    """Writers work side by side; gc waits for all of them."""
    both = (fsio.lock(path, shared=True), fsio.lock(path, shared=True))
    with both[0], both[1], pytest.raises(VaultBusy), fsio.lock(path):
        pass
    with fsio.lock(path):
        pass


def test_locks_leave_nothing_behind(path: Path) -> None:
    """A transient lock leaves no file, any other at most its own."""
    with fsio.lock(path, transient=True):
        pass
    with fsio.lock(path, shared=True):
        pass
    assert {item.name for item in path.parent.iterdir()} <= {path.name}


def test_lock_of_a_dead_process_is_free(path: Path) -> None:
    """Killed while it held the lock: who comes next is not kept waiting."""
    child = os.fork()
    if child == 0:
        context = fsio.lock(path)
        context.__enter__()
        os._exit(0)
    os.waitpid(child, 0)
    with fsio.lock(path):
        pass


def test_lock_of_another_host_is_said_with_the_file_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks nobody here can tell whether a process of another host lives."""
    monkeypatch.setattr(fcntl, "flock", refuse_with(errno.ENOSYS))
    path = tmp_path / "vault.lock"
    entry = tmp_path / f"vault.lock.w-{'0' * 12}-4711-99-abcdef"
    entry.write_text("far-host 4711\n")
    held = pytest.raises(VaultBusy, match="process 4711 on host far-host")
    with held as caught, fsio.lock(path):
        pass
    assert str(entry) in caught.value.hint
    entry.unlink()
    with fsio.lock(path):
        pass


HOLDER = """
import errno, fcntl, os, sys
from pathlib import Path

def flock(descriptor, operation):
    raise OSError(errno.ENOSYS, "no locks here")

fcntl.flock = flock
from modelvault import fsio
path, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with fsio.lock(path, wait=60):
        number = int(counter.read_text())
        os.sched_yield()
        counter.write_text(str(number + 1))
"""


def test_processes_without_locks_never_hold_one_together(tmp_path: Path) -> None:
    """Three that count in one file lose no count."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), str(counter)]
    children = [subprocess.Popen(arguments) for _ in range(3)]
    assert [child.wait(timeout=120) for child in children] == [0, 0, 0]
    assert counter.read_text() == "60"


def test_error_of_the_disk_is_no_missing_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a file system that has no locks goes without."""
    monkeypatch.setattr(fcntl, "flock", refuse_with(errno.EIO))
    with pytest.raises(StorageError), fsio.lock(tmp_path / "lock"):
        pass


def test_lock_file_of_another_account_is_used_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may only read a lock file can still hold the lock."""
    real = os.open

    def refuse(name: str, flags: int, *rest: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return real(name, flags, *rest)

    path = tmp_path / "vault.lock"
    path.touch()
    monkeypatch.setattr(os, "open", refuse)
    with fsio.lock(path), pytest.raises(VaultBusy), fsio.lock(path):
        pass
    path.unlink()
    with pytest.raises(PermissionRefused), fsio.lock(path):
        pass
    with fsio.lock(path, reading=True):  # nobody could have written here either
        pass
