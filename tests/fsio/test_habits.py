"""Habits of file systems: calls that some do not know stop nothing; errors of the disk do."""

import errno
import os
from pathlib import Path

import pytest

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.errors import (
    HostExhausted,
    MediumVanished,
    NoSpace,
    PermissionRefused,
    ReadOnly,
    StorageError,
)
from modelvault.store.blobs import Store


def bring(store: Store, data: bytes) -> None:
    """Bring bytes into a store through a partial."""
    with store.open_partial("k", len(data)) as partial:
        partial.write(0, data)
        partial.record(0, len(data))
        partial.release(len(data))
        store.adopt(partial, Digest.of(data), expected=Digest.of(data))


UNKNOWN = [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY]


def refuse(number: int) -> object:
    """Return a call that fails with an error number."""

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", UNKNOWN)
@pytest.mark.parametrize("call", ["fsync", "fdatasync", "posix_fadvise", "fchmod", "statvfs"])
def test_call_that_a_file_system_does_not_know_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Bytes arrive, are hashed, get their name, and are read again."""
    monkeypatch.setattr(os, call, refuse(number))
    store = Store.create(tmp_path / "vault")
    data = os.urandom(70_000_000 if call == "posix_fadvise" else 1000)
    store.require_space([("k", len(data))])
    bring(store, data)
    store.check(Digest.of(data), len(data))
    store.check(store.put(b"small"), 5)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS, errno.EIO])
def test_hint_that_is_refused_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """How the page cache is used is the kernel's business."""
    monkeypatch.setattr(os, "posix_fadvise", refuse(number))
    with open(tmp_path / "file", "wb") as file:
        fsio.advise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_flush_that_the_disk_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """What is not durable is never said to be."""
    store = Store.create(tmp_path / "vault")
    monkeypatch.setattr(os, call, refuse(number))
    with pytest.raises((MediumVanished, NoSpace)):
        bring(store, b"0123456789")
    monkeypatch.undo()
    assert list(store.blobs()) == []


KINDS = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EROFS: ReadOnly,
    errno.EACCES: PermissionRefused,
    errno.EIO: MediumVanished,
    errno.ESTALE: MediumVanished,
    errno.ETIMEDOUT: MediumVanished,
    errno.EUCLEAN: MediumVanished,
    errno.EMFILE: HostExhausted,
    errno.ENOMEM: HostExhausted,
}


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_number_is_a_storage_error_with_its_path(tmp_path: Path, number: int) -> None:
    """Whatever a file system answers has a class, an exit status and the path in its message."""
    error = fsio.translate(OSError(number, os.strerror(number)), tmp_path)
    assert isinstance(error, KINDS.get(number, StorageError))
    assert str(tmp_path) in error.message


def test_file_system_that_does_not_say_what_is_free_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zero blocks of zero is no full disk."""

    class Nothing:
        f_blocks = f_bavail = f_frsize = 0

    monkeypatch.setattr(os, "statvfs", lambda _: Nothing())
    fsio.require_space(tmp_path, 10**12)
