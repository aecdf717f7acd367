"""Partials under several threads, and the hasher that follows them."""

import errno
import os
import threading
from pathlib import Path

import pytest

from modelvault.core.digest import Digest
from modelvault.errors import Interrupted, NoSpace, StorageError
from modelvault.store.blobs import Store
from modelvault.store.hashing import FollowingHasher

pytestmark = pytest.mark.memory

MIB = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


def test_ranges_recorded_together_are_all_kept(store: Store) -> None:
    """One flush, as many records as ranges; empty ones leave no trace."""
    with store.open_partial("k", 100) as partial:
        partial.write(0, b"x" * 100)
        partial.record_all([(0, 10), (20, 30), (40, 40)])
    with store.open_partial("k", 100) as partial:
        assert partial.missing() == [(10, 20), (30, 100)]


def test_closed_partial_refuses_late_writers(store: Store) -> None:
    """A thread that comes late never writes to a descriptor that belongs to another file."""
    with store.open_partial("k", 100) as partial:
        pass
    with pytest.raises(StorageError, match="closed"):
        partial.write(0, b"x")
    with pytest.raises(StorageError, match="closed"):
        partial.record(0, 1)
    with pytest.raises(StorageError, match="closed"):
        partial.read(0, memoryview(bytearray(1)))


def test_closing_waits_for_what_is_under_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptors stay open until the last user has left."""
    entered, leave, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        entered.set()
        leave.wait(60)
        os.fstat(descriptor)  # fails if it was closed meanwhile

    with store.open_partial("k", 100) as partial:
        monkeypatch.setattr("os.fdatasync", slow)
        recorder = threading.Thread(target=partial.record, args=(0, 100))
        recorder.start()
        entered.wait(60)

        def close() -> None:
            partial.close()
            closed.set()

        closer = threading.Thread(target=close)
        closer.start()
        assert not closed.wait(0.1)
        leave.set()
        recorder.join()
        closer.join()
        assert partial.present.total == 100
        monkeypatch.setattr(partial, "close", lambda: None)


def test_failed_reservation_leaves_no_space_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that does not fit takes nothing from those that would."""

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(NoSpace), store.open_partial("k", 100):
        pass
    assert not (store.paths.partials / "k").exists()


def test_released_pages_are_read_back_unchanged(store: Store) -> None:
    """Letting go of the cache loses no byte, recorded or not."""
    size = 80 * MIB
    data = os.urandom(MIB) * 80
    with store.open_partial("k", size) as partial:
        partial.write(0, data)
        partial.record(0, 40 * MIB)
        with FollowingHasher(partial) as hasher:
            assert hasher.digest() == Digest.of(data)
        partial.release(size)
        buffer = bytearray(size)
        assert partial.read(0, memoryview(buffer)) == size
        assert buffer == data


def test_stopped_hasher_gives_no_digest(store: Store) -> None:
    """The digest of a part must never be taken for that of the whole."""
    with store.open_partial("k", 100) as partial, FollowingHasher(partial) as hasher:
        partial.write(0, b"x" * 100)
        hasher.follow(50)
        hasher.stop()
        with pytest.raises(Interrupted):
            hasher.digest()
