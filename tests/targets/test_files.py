"""Installing and removing files: the rare answers of file systems and of people."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from modelvault.core.digest import Digest
from modelvault.core.ports import Silence
from modelvault.errors import StorageError, TargetChanged, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets import files, folder, standing
from modelvault.targets.llamacpp import LlamaCppRuntime
from modelvault.targets.ollama import OllamaRuntime
from modelvault.targets.receipt import InstalledFile, Placement
from modelvault.targets.runtime import PlannedFile, Removal, Runtime
from modelvault.targets.vllm import VllmRuntime
from tests.support.installable import WHEN, make_gguf

pytestmark = pytest.mark.memory


def _fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def test_network_disk_without_folder_locks_is_used_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A models folder on NFS is common; it works, without protection from a second install."""
    _fail(monkeypatch, number)
    done = []
    with folder.locked(tmp_path):
        done.append(True)
    assert done


def test_disk_that_fails_while_locking_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other errors of the lock are no reason to go on."""
    _fail(monkeypatch, errno.EIO)
    with pytest.raises(StorageError), folder.locked(tmp_path):
        pass


def test_file_where_a_folder_is_needed_is_a_conflict(store: Store, tmp_path: Path) -> None:
    """A file called ``blobs`` is not removed to make room."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "blobs").write_bytes(b"mine")
    plan = OllamaRuntime({}).plan(
        *make_gguf(store), store, folder=tmp_path / "models", name=None, when=WHEN
    )
    with pytest.raises(TargetConflict, match="folder is needed"):
        OllamaRuntime({}).apply(plan)
    assert (tmp_path / "models" / "blobs").read_bytes() == b"mine"


def test_folder_where_the_model_should_go_is_a_conflict(store: Store, tmp_path: Path) -> None:
    """Neither a folder nor a link under a model's name is overwritten, even when replacing."""
    (tmp_path / "x.gguf").mkdir()
    with pytest.raises(TargetConflict):
        LlamaCppRuntime().plan(
            *make_gguf(store), store, folder=tmp_path, name="x", when=WHEN, replace=True
        )


def test_what_stands_there_is_told_from_what_was_installed(store: Store, tmp_path: Path) -> None:
    """Gone, untouched, of another size, another content, or no file at all."""
    path = tmp_path / "file"
    installer = files.FileInstaller(store=store, root=tmp_path, owner=None, progress=Silence())
    file = installer.install(PlannedFile.of("file", b"content"), path)
    assert standing.is_untouched(file, path) is True
    for other in (b"contenT", b"longer content"):
        path.write_bytes(other)
        assert standing.is_untouched(file, path) is False
        assert installer.find(PlannedFile.of("file", b"content")) is None
    path.unlink()
    assert standing.is_untouched(file, path) is None
    assert standing.is_untouched(file, path / "below") is None
    path.mkdir()
    assert standing.is_untouched(file, path) is False


def test_hardlink_that_was_replaced_by_equal_bytes_is_still_ours(tmp_path: Path) -> None:
    """Restored from a backup, the inode is new and the bytes are the same."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    file = InstalledFile(
        path="file",
        digest=Digest.of(b"content"),
        size=7,
        placement=Placement.HARDLINK,
        inode=path.stat().st_ino + 1,
    )
    assert standing.is_untouched(file, path) is True


def test_owner_of_a_missing_folder_is_that_of_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only root can give files away; it follows the folder that is there."""
    found = tmp_path.stat()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    owner = folder.Owner.of(tmp_path / "a" / "b")
    assert owner == folder.Owner(uid=found.st_uid, gid=found.st_gid)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert folder.Owner.of(tmp_path) is None


def test_file_that_vanishes_under_our_hands_is_no_traceback(tmp_path: Path) -> None:
    """What another process takes away in the middle is named, with what to do."""
    with pytest.raises(TargetChanged, match="gone"), folder.target_errors(tmp_path):
        (tmp_path / "gone").read_bytes()


@pytest.mark.parametrize("runtime", [OllamaRuntime({}), VllmRuntime(), LlamaCppRuntime()])
def test_undo_without_the_models_folder_has_nothing_to_do(
    store: Store, tmp_path: Path, runtime: Runtime
) -> None:
    """A folder that was removed by hand is no error."""
    models = tmp_path / "models"
    plan = LlamaCppRuntime().plan(*make_gguf(store), store, folder=models, name=None, when=WHEN)
    receipt = LlamaCppRuntime().apply(plan)
    (models / receipt.files[0].path).unlink()
    models.rmdir()
    assert runtime.undo(receipt) == Removal(removed=(), kept=())
