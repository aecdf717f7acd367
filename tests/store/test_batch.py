"""Many small blobs at once: the order of durability of one, with one flush for all."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.errors import NoSpace, StorageError
from modelvault.fsio import flushing
from modelvault.store import batch as batches
from modelvault.store.blobs import Store
from tests.support.killpoints import kill_points

CONTENTS = [f"content {number}".encode() for number in range(20)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


@pytest.fixture(params=["one by one", "together", "in threads"])
def flushed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Flush files one by one, by one call, or in threads where there is no such call."""
    if request.param != "one by one":
        monkeypatch.setattr(flushing, "FEW", 1)
        together = request.param == "together"
        monkeypatch.setattr(flushing, "_syncs_whole", lambda _: together)
    return str(request.param)


def put_all(store: Store) -> None:
    """Put every content into the store by one batch."""
    with store.batch() as batch:
        for data in CONTENTS:
            batch.put(data, Digest.of(data))


def names(store: Store) -> set[str]:
    """Return the names of everything among the blobs, leftovers included."""
    return {path.name for path in store.paths.blobs.rglob("*") if path.is_file()}


class Recorder:
    """Notes which files were flushed when they got their names, and which folders after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch the calls that order bytes on disk."""
        self.flushed: set[str] = set()
        self.named: list[str] = []
        self.calls = 0
        real_sync, real_replace = os.fsync, os.replace
        real_whole = flushing.sync_file_system

        def fsync(descriptor: int) -> None:
            self.calls += 1
            self.flushed.add(os.readlink(f"/proc/self/fd/{descriptor}"))
            real_sync(descriptor)

        def replace(source: Any, target: Any) -> None:
            assert str(source) in self.flushed or "all" in self.flushed
            self.named.append(str(target))
            self.flushed = {name for name in self.flushed if not Path(name).is_dir()}
            real_replace(source, target)

        def whole(descriptor: int) -> bool:
            self.calls += 1
            self.flushed = {"all"}
            return real_whole(descriptor)

        monkeypatch.setattr("os.fsync", fsync)
        monkeypatch.setattr("os.replace", replace)
        monkeypatch.setattr(flushing, "sync_file_system", whole)


def test_bytes_are_flushed_before_they_have_names(
    store: Store, flushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is flushed; and the names are flushed before the batch says it is done."""
    recorder = Recorder(monkeypatch)
    put_all(store)
    assert len(recorder.named) == len(CONTENTS)
    folders = {str(Path(name).parent) for name in recorder.named}
    assert flushed == "together" or folders <= recorder.flushed
    assert recorder.calls == 2 if flushed == "together" else recorder.calls > len(CONTENTS)
    for data in CONTENTS:
        assert store.read(Digest.of(data), limit=100) == data
        assert stat.S_IMODE(store.path(Digest.of(data)).stat().st_mode) == 0o444


def test_new_folders_are_flushed_into_theirs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob in a folder that a power cut takes away would be lost."""
    recorder = Recorder(monkeypatch)
    with store.batch() as batch:
        batch.put(b"", Digest.of(b""))
    assert str(store.paths.blobs) in recorder.flushed


def test_twenty_thousand_blobs_take_a_few_flushes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch flushes by the thousand, whatever the number of blobs."""
    recorder = Recorder(monkeypatch)
    with store.batch() as batch:
        for number in range(20_000):
            data = number.to_bytes(4, "little")
            batch.put(data, Digest.of(data))
    assert len(recorder.named) == 20_000
    assert recorder.calls < 10


def test_batch_publishes_what_a_kill_may_cost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither bytes nor files pile up without a name."""
    monkeypatch.setattr(batches, "_MOST_BLOBS", 3)
    with store.batch() as batch:
        for data in CONTENTS[:4]:
            batch.put(data, Digest.of(data))
        assert [store.has(Digest.of(data)) for data in CONTENTS[:4]] == [True, True, True, False]
    monkeypatch.setattr(batches, "_MOST_BYTES", 15)
    with store.batch() as batch:
        for data in CONTENTS[10:13]:
            batch.put(data, Digest.of(data))
        assert [store.has(Digest.of(data)) for data in CONTENTS[10:13]] == [True, True, False]


def test_killed_anywhere_names_only_whole_blobs(store: Store, flushed: str) -> None:
    """Wherever the process dies: what has a name has its bytes, and the next run ends it."""
    deaths = 0
    for _ in kill_points(lambda: put_all(store)):
        deaths += 1
        for blob in store.blobs():
            store.check(blob.digest, blob.size)
        put_all(store)
        for data in CONTENTS:
            store.check(Digest.of(data), len(data))
        store.clear(store.leftovers(partials=True))
        for blob in list(store.blobs()):
            store.remove(blob.digest)
    assert deaths > len(CONTENTS)
    assert flushed


def failing(number: int) -> Callable[..., Any]:
    """Return a call that fails as the operating system does."""

    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_flush_that_fails_names_nothing(
    store: Store, flushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that the disk may have lost get no name, and are cleared away."""
    monkeypatch.setattr("os.fsync", failing(errno.EIO))
    monkeypatch.setattr(flushing, "sync_file_system", failing(errno.EIO))
    with pytest.raises(StorageError):
        put_all(store)
    assert names(store) == set()
    assert flushed


def test_syncfs_that_is_refused_is_replaced_by_fsync(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that says it cannot is believed; the bytes are flushed all the same."""
    monkeypatch.setattr(flushing, "FEW", 1)
    monkeypatch.setattr(flushing, "_syncs_whole", lambda _: True)
    monkeypatch.setattr(flushing, "sync_file_system", lambda _: False)
    calls = 0
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    put_all(store)
    assert calls > len(CONTENTS)
    assert names(store) == {Digest.of(data).hex for data in CONTENTS}


def test_syncfs_is_left_alone_where_it_promises_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On old kernels, which hide errors, on other systems, and on unknown file systems."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        here = os.uname()
        for sysname, release in (("Linux", "5.7.19"), ("Linux", "odd"), ("FreeBSD", "14.1")):
            fake = os.uname_result((sysname, *here[1:2], release, *here[3:]))
            with monkeypatch.context() as patch:
                patch.setattr("os.uname", lambda fake=fake: fake)
                assert not flushing._syncs_whole(descriptor)
        with monkeypatch.context() as patch:
            patch.setattr(flushing, "_LOCAL", frozenset())
            assert not flushing._syncs_whole(descriptor)
    finally:
        os.close(descriptor)


def test_disk_that_fills_up_keeps_what_is_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that did not fit leaves nothing; those before it are published."""
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if bytes(data) == CONTENTS[5]:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[:3])  # short writes are gone on with

    monkeypatch.setattr("os.write", write)
    with pytest.raises(NoSpace):
        put_all(store)
    assert names(store) == {Digest.of(data).hex for data in CONTENTS[:5]}


def test_interrupt_clears_away_what_has_no_name(store: Store) -> None:
    """Ctrl-C does not wait for a flush, and leaves nothing behind."""

    def interrupted() -> None:
        with store.batch() as batch:
            batch.put(b"data", Digest.of(b"data"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(store) == set()


def test_error_of_the_caller_is_told_before_that_of_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ended the block is what the user has to know."""
    monkeypatch.setattr("os.fsync", failing(errno.EIO))

    def fail() -> None:
        with store.batch() as batch:
            batch.put(b"data", Digest.of(b"data"))
            raise NoSpace("first")

    with pytest.raises(NoSpace, match="first"):
        fail()
    assert names(store) == set()


def test_blob_of_the_wrong_length_is_replaced(store: Store) -> None:
    """What a crash of another program cut short is healed by the next delivery."""
    digest = Digest.of(b"data")
    path = store.paths.blob(digest)
    fsio.make_folder(path.parent)
    path.write_bytes(b"da")
    assert not store.has(digest, 4)
    with store.batch() as batch:
        batch.put(b"data", digest)
    assert store.read(digest, limit=10) == b"data"
