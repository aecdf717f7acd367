"""A vault's folder as hosts leave it: others' files, missing folders, several disks, dead links."""

import os
import shutil
from pathlib import Path

import pytest

from modelvault.app.housekeeping import collect_garbage
from modelvault.app.vault import Vault
from modelvault.core.digest import Digest
from modelvault.errors import (
    BlobMissing,
    DigestMismatch,
    StorageError,
    VaultNotFound,
)
from modelvault.store.blobs import Store
from tests.support.filesystems import mounted_tmpfs, other_file_system

pytestmark = pytest.mark.memory

DATA = os.urandom(5000)


def fill(store: Store, data: bytes = DATA, key: str = "k") -> Digest:
    """Bring bytes into the store through a partial."""
    with store.open_partial(key, len(data)) as partial:
        partial.write(0, data)
        partial.record(0, len(data))
        store.adopt(partial, Digest.of(data), expected=Digest.of(data))
    return Digest.of(data)


def litter(folder: Path) -> list[Path]:
    """Put what file managers and servers leave into a folder; return it."""
    files = [".DS_Store", "._0a", ".nfs000000000000001", "Thumbs.db", "desktop.ini", "notes.txt"]
    for name in files:
        (folder / name).write_bytes(b"others'")
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "x@SynoEAStream").write_bytes(b"others'")
    (folder / "#recycle").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    return [*(folder / name for name in files), folder / "@eaDir", folder / "#recycle"]


def test_files_of_others_among_the_blobs_are_neither_blobs_nor_garbage(tmp_path: Path) -> None:
    """Every walk passes them over, gc takes none of them, and blobs are told by their names."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        store = vault.store
        digest = fill(store)
        folders = [store.paths.blobs, store.path(digest).parent, store.paths.partials]
        left = [path for folder in folders for path in litter(folder)]
        (store.path(digest).parent / ("f" * 64)).write_bytes(b"in the wrong folder")
        assert [blob.digest for blob in store.blobs()] == [digest]
        vault.catalog.chain_head()
        found = collect_garbage(vault, dry_run=False, partials=True)
        assert [blob.digest for blob in found.garbage.blobs] == [digest]
        assert found.leftovers == ()
        assert all(path.exists() for path in left)


@pytest.mark.parametrize("missing", ["partial", "quarantine", "partial and quarantine"])
def test_folders_that_a_copy_left_out_are_made_when_needed(tmp_path: Path, missing: str) -> None:
    """Tools that copy no empty folders leave a whole vault."""
    Store.create(tmp_path / "vault").put(b"kept")
    for name in missing.split(" and "):
        shutil.rmtree(tmp_path / "vault" / name)
    store = Store.open(tmp_path / "vault")
    assert list(store.leftovers(partials=True)) == []
    digest = fill(store)
    assert store.condemn(digest, "test").read_bytes() == DATA


def test_vault_without_any_blob_folder_is_known_by_its_identity(tmp_path: Path) -> None:
    """An empty vault that was copied without empty folders can be listed and filled."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        vault.catalog.chain_head()
    for name in ("blobs", "partial", "quarantine"):
        shutil.rmtree(tmp_path / "vault" / name)
    with Vault.open(tmp_path / "vault") as vault:
        assert list(vault.store.blobs()) == []
        assert vault.catalog.listing() == []
        assert vault.store.has(fill(vault.store))


def test_blobs_on_a_disk_of_their_own_take_partials_and_quarantine_there(tmp_path: Path) -> None:
    """Where ``blobs/`` is a mount, bytes arrive on the disk that they stay on."""
    with mounted_tmpfs(tmp_path / "vault" / "blobs"):
        store = Store.create(tmp_path / "vault")
        store.require_space([("k", 10_000_000)])
        digest = fill(store)
        assert store.path(digest).stat().st_mode & 0o777 == 0o444
        device = store.paths.blobs.stat().st_dev
        assert store.partials.stat().st_dev == device != (tmp_path / "vault").stat().st_dev
        assert store.condemn(digest, "test").stat().st_dev == device
        assert list(store.blobs()) == []
        with store.open_partial("sha256-" + "0" * 64, 10) as partial:
            partial.record(0, 5)
        assert {path.parent for path in store.leftovers(partials=True)} == {store.partials}


def test_blobs_behind_a_link_to_another_disk_are_used(tmp_path: Path) -> None:
    """An administrator moved ``blobs/`` and left a link."""
    with other_file_system(tmp_path, Path("/var/tmp")) as elsewhere:
        Store.create(tmp_path / "vault").put(b"kept")
        shutil.move(tmp_path / "vault" / "blobs", elsewhere / "blobs")
        (tmp_path / "vault" / "blobs").symlink_to(elsewhere / "blobs")
        store = Store.open(tmp_path / "vault")
        digest = fill(store)
        finished = store.partials / "made"
        finished.write_bytes(b"made here")
        assert store.take(finished).size == 9
        assert {blob.digest for blob in store.blobs()} == {
            digest,
            Digest.of(b"kept"),
            Digest.of(b"made here"),
        }


def test_partials_put_on_a_third_disk_on_purpose_stay_there(tmp_path: Path) -> None:
    """A faster disk for what arrives: the blob is copied to its place, and compared."""
    with other_file_system(tmp_path, Path("/var/tmp")) as elsewhere:
        store = Store.create(tmp_path / "vault")
        (tmp_path / "vault" / "partial").rmdir()
        (tmp_path / "vault" / "partial").symlink_to(elsewhere)
        digest = fill(store)
        assert store.read(digest, limit=len(DATA)) == DATA
        assert store.path(digest).stat().st_mode & 0o777 == 0o444
        assert list(elsewhere.iterdir()) == []
        wrong = Digest.of(b"something else")
        with store.open_partial("j", 3) as partial:
            partial.write(0, b"abc")
            partial.record(0, 3)
            with pytest.raises(DigestMismatch):
                store.adopt(partial, wrong)
        assert not store.has(wrong)


@pytest.mark.parametrize("link", ["vault", "blobs", "sha256"])
def test_link_that_leads_nowhere_is_named(tmp_path: Path, link: str) -> None:
    """The disk behind it is not mounted: the message says which link, and makes nothing."""
    root = tmp_path / "vault"
    path = {"vault": root, "blobs": root / "blobs", "sha256": root / "blobs" / "sha256"}[link]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / "not mounted")
    with pytest.raises(VaultNotFound, match="a link to"):
        Store.open(root)
    with pytest.raises(StorageError, match="a link to"):
        Store.create(root)
    assert not (tmp_path / "not mounted").exists()


def test_blob_behind_a_link_that_leads_nowhere_is_missing(tmp_path: Path) -> None:
    """It is no file: the store lacks it, and can get it again."""
    store = Store.create(tmp_path / "vault")
    digest = store.put(DATA)
    shutil.move(store.path(digest), tmp_path / "away")
    store.paths.blob(digest).symlink_to(tmp_path / "away")
    assert store.has(digest)
    (tmp_path / "away").unlink()
    assert not store.has(digest)
    assert list(store.blobs()) == []
    with pytest.raises(BlobMissing):
        store.check(digest, len(DATA))
    store.put(DATA)
    store.check(digest, len(DATA))


def test_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    """A file called like the vault is no vault and no traceback."""
    (tmp_path / "vault").write_bytes(b"")
    with pytest.raises(VaultNotFound):
        Store.open(tmp_path / "vault")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        Store.create(tmp_path / "vault")
