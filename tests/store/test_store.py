"""The store: bytes are hashed, durable and kept, or they have no name."""

import os
from pathlib import Path

import pytest

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.errors import (
    BadPath,
    BlobMissing,
    DigestMismatch,
    NoSpace,
    SizeMismatch,
    VaultBusy,
    VaultNotFound,
)
from modelvault.store.blobs import BlobFile, Store
from modelvault.store.gc import find_garbage
from modelvault.store.hashing import FollowingHasher

pytestmark = pytest.mark.memory


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


def test_put_bytes_are_read_only_and_found(store: Store) -> None:
    """A blob is named by its digest and cannot be written to."""
    digest = store.put(b"hello")
    assert digest == Digest.of(b"hello")
    assert store.path(digest).stat().st_mode & 0o777 == 0o444
    assert store.read(digest, limit=5) == b"hello"
    assert list(store.blobs()) == [BlobFile(digest=digest, size=5)]


def test_changed_blob_is_reported(store: Store) -> None:
    """A flipped byte, a shorter file and a missing file each have their own error."""
    digest = store.put(b"hello")
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"hellO")
    with pytest.raises(DigestMismatch):
        store.check(digest, 5)
    with pytest.raises(DigestMismatch):
        store.read(digest, limit=5)
    path.write_bytes(b"hell")
    with pytest.raises(SizeMismatch):
        store.check(digest, 5)
    path.unlink()
    with pytest.raises(BlobMissing):
        store.check(digest, 5)


def test_partial_is_kept_across_reopening(store: Store) -> None:
    """What was recorded is still there; what was only written is not believed."""
    data = os.urandom(1000)
    with store.open_partial("k", 1000) as partial:
        partial.write(0, data[:400])
        partial.record(0, 400)
        partial.write(400, data[400:600])
    with store.open_partial("k", 1000) as partial:
        assert partial.missing() == [(400, 1000)]
        partial.write(400, data[400:])
        partial.record(400, 1000)
        with FollowingHasher(partial) as hasher:
            computed = hasher.digest()
        store.adopt(partial, computed, expected=Digest.of(data))
    assert store.path(Digest.of(data)).read_bytes() == data
    assert not store.paths.partials.joinpath("k").exists()


@pytest.mark.parametrize("cut", range(1, 30))
def test_torn_journal_never_vouches_for_too_much(store: Store, cut: int) -> None:
    """Wherever the journal is cut, only whole records count."""
    with store.open_partial("k", 100) as partial:
        partial.write(0, b"x" * 100)
        partial.record(0, 50)
        partial.record(50, 100)
    journal = store.paths.partials / "k.journal"
    journal.write_bytes(journal.read_bytes()[:-cut])
    with store.open_partial("k", 100) as partial:
        assert partial.present.total in (0, 50)
        partial.record(50, 60)
    with store.open_partial("k", 100) as partial:
        assert partial.present.covers(50, 60)


def test_partial_of_another_size_starts_anew(store: Store) -> None:
    """A file that changed its size shares nothing with the old one."""
    with store.open_partial("k", 100) as partial:
        partial.write(0, b"x" * 100)
        partial.record(0, 100)
    with store.open_partial("k", 101) as partial:
        assert partial.missing() == [(0, 101)]


def test_wrong_bytes_go_to_quarantine(store: Store) -> None:
    """Bytes of the right size and the wrong digest are kept as evidence, not as a blob."""
    with store.open_partial("k", 3) as partial:
        partial.write(0, b"bad")
        partial.record(0, 3)
        with pytest.raises(DigestMismatch):
            store.adopt(partial, Digest.of(b"bad"), expected=Digest.of(b"god"))
    kept = [path for path in store.paths.quarantine.iterdir() if path.suffix != ".txt"]
    assert [path.read_bytes() for path in kept] == [b"bad"]
    assert list(store.blobs()) == []


def test_more_bytes_than_declared_are_refused(store: Store) -> None:
    """An endless sender cannot grow a file."""
    with store.open_partial("k", 3) as partial, pytest.raises(BadPath):
        partial.write(2, b"xx")


def test_partial_is_locked_while_open(store: Store) -> None:
    """Two fillers of one file exclude each other."""
    with store.open_partial("k", 3), pytest.raises(VaultBusy), store.open_partial("k", 3):
        pass


def test_published_partial_leaves_no_files(store: Store) -> None:
    """Thousands of pulled files do not leave thousands of journals and locks."""
    with store.open_partial("k", 3) as partial:
        partial.write(0, b"abc")
        partial.record(0, 3)
        store.adopt(partial, Digest.of(b"abc"))
    assert list(store.paths.partials.iterdir()) == []


def test_leftovers_are_what_no_run_can_use(store: Store) -> None:
    """Unfinished bytes are kept unless asked for; everything else a crash leaves is swept."""
    partials = store.paths.partials
    with store.open_partial("unfinished", 3) as partial:
        partial.write(0, b"a")
        partial.record(0, 1)
    for name in ("git-0.lock", "git-0.journal", f"{fsio.TEMPORARY_PREFIX}1-x"):
        (partials / name).touch()
    (partials / "convert-0").mkdir()
    published = store.put(b"abc")
    (partials / f"sha256-{published.hex}").touch()
    kept = {"unfinished", "unfinished.journal"}
    found = {path.name for path in store.leftovers(partials=False)}
    assert found == {path.name for path in partials.iterdir()} - kept
    store.clear(list(store.leftovers(partials=True)))
    assert list(partials.iterdir()) == []


def test_transient_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """Removing the file at release never lets two processes in at once."""
    path, counter = tmp_path / "lock", tmp_path / "counter"
    counter.write_text("0")
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            for _ in range(25):
                with fsio.lock(path, wait=30, transient=True):
                    counter.write_text(str(int(counter.read_text()) + 1))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert counter.read_text() == "100"
    assert not path.exists()


def test_gc_waits_for_writers(store: Store) -> None:
    """Nobody works alone while somebody writes."""
    with store.writing(), store.writing(), pytest.raises(VaultBusy), store.alone(wait=0):
        pass
    with store.alone(wait=0):
        pass


def test_garbage_is_what_nothing_refers_to(store: Store) -> None:
    """The pure decision."""
    kept, gone = store.put(b"kept"), store.put(b"gone")
    garbage = find_garbage(store.blobs(), {kept})
    assert [blob.digest for blob in garbage.blobs] == [gone]
    assert garbage.size == 4


def test_space_is_checked_before_the_first_byte(tmp_path: Path) -> None:
    """A file larger than the disk is refused at once, and nothing stays behind."""
    with pytest.raises(NoSpace):
        fsio.require_space(tmp_path, 2**60)


def test_folder_without_vault_is_not_found(tmp_path: Path) -> None:
    """Opening does not create."""
    with pytest.raises(VaultNotFound):
        Store.open(tmp_path)


def test_symbolic_link_below_root_is_refused(tmp_path: Path) -> None:
    """A planted link does not lead writes out of the folder."""
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(BadPath):
        fsio.safe_join(tmp_path, "link/passwd")


def test_failed_durable_write_leaves_nothing(tmp_path: Path) -> None:
    """The old content stands, and no temporary file remains."""
    target = tmp_path / "file"
    fsio.write_durably(target, b"old")
    with pytest.raises(TypeError), fsio.durable_file(target) as file:
        file.write("new")  # type: ignore[call-overload]
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_place_shares_the_file_where_it_can(tmp_path: Path) -> None:
    """A hardlink on the same file system, bytes elsewhere."""
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    assert fsio.link_or_copy(source, tmp_path / "linked") is fsio.LinkMode.HARDLINK
    mode = fsio.link_or_copy(source, tmp_path / "copied", link=False)
    assert mode in (fsio.LinkMode.COPY, fsio.LinkMode.REFLINK)
    assert (tmp_path / "copied").read_bytes() == b"bytes"
    with pytest.raises(FileExistsError):
        fsio.link_or_copy(source, tmp_path / "copied")
