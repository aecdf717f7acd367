"""Installing for llama.cpp: one file, in one step."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from modelvault.errors import BadOption, TargetConflict, UnsuitableArtifact
from modelvault.store.blobs import Store
from modelvault.targets.llamacpp import LlamaCppRuntime
from modelvault.targets.receipt import Placement, Receipt
from tests.support import tinygguf
from tests.support.installable import WHEN, make_artifact, make_gguf, tree
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


def _projector(architecture: str = "clip") -> bytes:
    return tinygguf.gguf([tinygguf.string_pair("general.architecture", architecture)])


@pytest.mark.parametrize(
    ("given", "installed"),
    [
        ("mmproj-F16.gguf", "mmproj-F16.gguf"),
        ("Tiny-mmproj-f16.gguf", "mmproj-Tiny-mmproj-f16.gguf"),
    ],
)
def test_model_with_a_projector_is_a_folder(
    store: Store, models: Path, given: str, installed: str
) -> None:
    """As the router wants it, with the command that names both; undone without a trace."""
    files = {"Tiny-1B-Q4_K_M.gguf": tinygguf.tiny_llama(), given: _projector()}
    content = make_artifact(store, files, variant="Q4_K_M", kind="gguf")
    runtime = LlamaCppRuntime()
    receipt = runtime.apply(runtime.plan(*content, store, folder=models, name=None, when=WHEN))
    folder = models / "Tiny-1B-Q4_K_M"
    assert sorted(path.name for path in folder.iterdir()) == ["Tiny-1B-Q4_K_M.gguf", installed]
    (command,) = receipt.notes
    assert f"-m {folder / 'Tiny-1B-Q4_K_M.gguf'} --mmproj {folder / installed} " in command
    runtime.undo(receipt)
    assert tree(models) == {}


def test_projector_in_name_only_is_refused(store: Store, models: Path) -> None:
    """A second model is not loaded as one."""
    files = {"m.gguf": tinygguf.tiny_llama(), "mmproj.gguf": _projector("llama")}
    content = make_artifact(store, files, kind="gguf")
    with pytest.raises(UnsuitableArtifact, match="called a projector"):
        LlamaCppRuntime().plan(*content, store, folder=models, name=None, when=WHEN)


@pytest.mark.parametrize(("pooling", "flag"), [(4, "--reranking"), (1, "--embeddings")])
def test_command_asks_for_what_the_model_does(
    store: Store, models: Path, pooling: int, flag: str
) -> None:
    """The server rates or embeds only when it is told to."""
    pairs = [tinygguf.string_pair("general.architecture", "bert")]
    pairs.append(tinygguf.u32_pair("bert.pooling_type", pooling))
    content = make_artifact(store, {"m.gguf": tinygguf.gguf(pairs)}, kind="gguf")
    plan = LlamaCppRuntime().plan(*content, store, folder=models, name=None, when=WHEN)
    assert f" {flag} " in plan.notes[0]
