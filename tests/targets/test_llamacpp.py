"""Installing for llama.cpp: one file, in one step."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from modelvault.errors import BadOption, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets.llamacpp import LlamaCppRuntime
from modelvault.targets.receipt import Placement, Receipt
from tests.support.installable import WHEN, make_gguf, tree
from tests.support.killpoints import kill_points

pytestmark = pytest.mark.memory


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return an empty models folder on the store's file system."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def _install(store: Store, folder: Path, *, name: str | None = None) -> Receipt:
    runtime = LlamaCppRuntime()
    plan = runtime.plan(*make_gguf(store), store, folder=folder, name=name, when=WHEN)
    return runtime.apply(plan)


def test_gguf_stands_at_the_top_level(store: Store, models: Path) -> None:
    """The router mode reads single files at the top of its folder."""
    receipt = _install(store, models)
    assert list(tree(models)) == ["Tiny-1B-Q4_K_M.gguf"]
    assert receipt.files[0].placement is Placement.HARDLINK
    assert receipt.notes == (f"llama-server -m {models / 'Tiny-1B-Q4_K_M.gguf'} --offline",)
    assert _install(store, models, name="other.gguf").files[0].path == "other.gguf"


def test_folder_has_to_be_named(store: Store) -> None:
    """There is no usual place: the option is asked for."""
    with pytest.raises(BadOption, match="models folder"):
        LlamaCppRuntime().plan(*make_gguf(store), store, folder=None, name=None, when=WHEN)


def test_attack_link_in_the_way_is_not_followed(store: Store, models: Path, tmp_path: Path) -> None:
    """A link that stands where the model should go is a conflict, even when replacing."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (models / "Tiny-1B-Q4_K_M.gguf").symlink_to(victim)
    artifact = make_gguf(store)
    with pytest.raises(TargetConflict):
        LlamaCppRuntime().plan(*artifact, store, folder=models, name=None, when=WHEN, replace=True)
    assert victim.read_bytes() == b"precious"


def test_killed_install_is_mended_by_the_next(store: Store, models: Path, elsewhere: Path) -> None:
    """Killed at any step: no file or the whole file, and running again completes it."""
    make_gguf(store)
    for folder in (models, elsewhere):
        for _ in kill_points(partial(_install, store, folder)):
            visible = [path for path in tree(folder) if not path.startswith(".")]
            if visible:
                assert (folder / visible[0]).stat().st_size == _install(store, folder).size
            receipt = _install(store, folder)
            assert list(tree(folder)) == ["Tiny-1B-Q4_K_M.gguf"]
            LlamaCppRuntime().undo(receipt)
            assert tree(folder) == {}
        shutil.rmtree(folder)
        folder.mkdir()
