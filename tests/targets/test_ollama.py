"""Installing into Ollama: its layout, its pruning, crashes, and the way back."""

import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.errors import (
    BadOption,
    BadPath,
    DigestMismatch,
    MalformedWeights,
    NoSpace,
    PermissionRefused,
    SizeMismatch,
    TargetChanged,
    UnsuitableArtifact,
    VaultBusy,
)
from modelvault.store.blobs import Store
from modelvault.targets.folder import locked
from modelvault.targets.ollama import OllamaRuntime
from modelvault.targets.receipt import Placement, Receipt
from tests.support import tinygguf
from tests.support.installable import WHEN, make_artifact, make_gguf, tree
from tests.support.killpoints import kill_points

pytestmark = pytest.mark.memory

HOME = "manifests/registry.ollama.ai/library"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return an empty models folder on the store's file system."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def _install(
    store: Store, models: Path, *, name: str | None = None, seed: bytes = b"\0"
) -> Receipt:
    runtime = OllamaRuntime({})
    plan = runtime.plan(*make_gguf(store, seed=seed), store, folder=models, name=name, when=WHEN)
    return runtime.apply(plan)


def _check_model(models: Path, manifest: str) -> None:
    """Check that a manifest and everything it names stand there, byte for byte."""
    value = json.loads((models / manifest).read_bytes())
    for item in [value["config"], *value["layers"]]:
        path = models / "blobs" / item["digest"].replace(":", "-")
        assert path.stat().st_size == item["size"]
        assert str(Digest.of(path.read_bytes())) == item["digest"]


def _no_leftovers(models: Path) -> bool:
    return not [path for path in tree(models) if ".modelvault-" in path]


def test_layout_is_ollamas(store: Store, models: Path) -> None:
    """Manifest, config, model and licence stand where the server looks, as it reads them."""
    receipt = _install(store, models)
    assert receipt.name == "tiny-1b:q4_k_m"
    manifest = json.loads((models / HOME / "tiny-1b" / "q4_k_m").read_bytes())
    _check_model(models, f"{HOME}/tiny-1b/q4_k_m")
    assert [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]] == [
        "model",
        "license",
    ]
    config = models / "blobs" / manifest["config"]["digest"].replace(":", "-")
    assert json.loads(config.read_bytes()) == {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "96",
        "file_type": "Q4_K_M",
        "architecture": "amd64",
        "os": "linux",
    }
    assert all(path.name.startswith("sha256-") for path in (models / "blobs").iterdir())
    assert len(list(models.glob("manifests/*/*/*/*"))) == 1
    assert "ollama run tiny-1b:q4_k_m" in receipt.notes


def test_licence_and_policy_of_use_are_carried_along(store: Store, models: Path) -> None:
    """Each is a layer, in the order of the model's files; what Llama asks to hand on is kept."""
    texts = {"LICENSE": b"terms\n", "Notice": b"by us\n", "USE_POLICY.md": b"not for harm\n"}
    files = {"Tiny-1B-Q4_K_M.gguf": tinygguf.tiny_llama(), "README.md": b"# Tiny\n", **texts}
    artifact, content = make_artifact(store, files, variant="Q4_K_M", kind="gguf")
    runtime = OllamaRuntime({})
    runtime.apply(runtime.plan(artifact, content, store, folder=models, name=None, when=WHEN))
    manifest = json.loads((models / HOME / "tiny-1b" / "q4_k_m").read_bytes())
    kept = [layer["digest"] for layer in manifest["layers"] if "license" in layer["mediaType"]]
    assert kept == [str(Digest.of(texts[name])) for name in sorted(texts)]


def test_blobs_are_the_vaults_own_files(store: Store, models: Path) -> None:
    """On one file system no second copy is made, and the vault's file stays read-only."""
    receipt = _install(store, models)
    for file in receipt.files:
        path = models / file.path
        if file.placement is Placement.HARDLINK:
            assert path.samefile(store.path(file.digest))
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
        else:
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert (receipt.count(Placement.HARDLINK), receipt.count(Placement.COPY)) == (2, 2)


def test_other_file_system_gets_checked_copies(store: Store, elsewhere: Path) -> None:
    """Across file systems bytes are copied and hashed, with the modes Ollama expects."""
    receipt = _install(store, elsewhere)
    _check_model(elsewhere, f"{HOME}/tiny-1b/q4_k_m")
    assert receipt.count(Placement.COPY) == len(receipt.files) == 4
    for file in receipt.files:
        assert stat.S_IMODE((elsewhere / file.path).stat().st_mode) == 0o644
    again = _install(store, elsewhere)
    assert again.count(Placement.PRESENT) == 4
    OllamaRuntime({}).undo(again)
    assert not list(elsewhere.rglob("sha256-*"))


def test_copy_that_came_out_wrong_is_refused(
    store: Store, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that changes bytes on the way is found out before anything is visible."""

    def flip(source: Path, target: Path, **_: object) -> fsio.LinkMode:
        target.write_bytes(bytes(reversed(source.read_bytes())))
        return fsio.LinkMode.COPY

    monkeypatch.setattr(fsio, "link_or_copy", flip)
    with pytest.raises(DigestMismatch):
        _install(store, elsewhere)
    assert not list(elsewhere.glob("manifests/*/*/*/*"))


def test_full_disk_is_told_before_copying(
    store: Store, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where bytes must be copied, space is checked first."""
    monkeypatch.setattr(fsio.space, "free_bytes", lambda _: 10)
    with pytest.raises(NoSpace):
        _install(store, elsewhere)
    assert not list(elsewhere.rglob("sha256-*"))


def test_damaged_blob_in_the_vault_is_not_installed(store: Store, models: Path) -> None:
    """A blob of the wrong length stops the install."""
    artifact, manifest = make_gguf(store)
    runtime = OllamaRuntime({})
    plan = runtime.plan(artifact, manifest, store, folder=models, name=None, when=WHEN)
    blob = store.path(manifest.files[0].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"short")
    with pytest.raises(SizeMismatch):
        runtime.apply(plan)
    assert not list(models.glob("manifests/*/*/*/*"))


def test_damaged_blob_in_ollama_is_mended(store: Store, elsewhere: Path) -> None:
    """A blob there that does not hash to its name is replaced."""
    receipt = _install(store, elsewhere)
    victim = elsewhere / receipt.files[0].path
    victim.write_bytes(b"?" * receipt.files[0].size)
    again = _install(store, elsewhere)
    assert again.files[0].placement is Placement.COPY
    _check_model(elsewhere, f"{HOME}/tiny-1b/q4_k_m")


def test_folder_is_found_as_the_server_finds_it(tmp_path: Path) -> None:
    """The option wins over the environment, that over home, and the service's is last."""
    home, system = tmp_path / "home", tmp_path / "system"
    system.mkdir()
    environ = {"HOME": str(home), "OLLAMA_MODELS": str(tmp_path / "env")}
    assert OllamaRuntime(environ).folder(tmp_path / "given") == tmp_path / "given"
    assert OllamaRuntime(environ).folder(None) == tmp_path / "env"
    del environ["OLLAMA_MODELS"]
    runtime = OllamaRuntime(environ, system_folder=system)
    assert runtime.folder(None) == system
    (home / ".ollama" / "models").mkdir(parents=True)
    assert runtime.folder(None) == home / ".ollama" / "models"


def test_missing_models_folder_is_made_and_unmade(store: Store, tmp_path: Path) -> None:
    """A first install makes the folder; undoing it leaves nothing behind."""
    folder = tmp_path / "new"
    receipt = _install(store, folder)
    assert receipt.folders[0] == "."
    OllamaRuntime({}).undo(receipt)
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_new_files_belong_to_the_folders_owner(store: Store, models: Path) -> None:
    """Installed by root, the model is Ollama's; the vault's own files stay the vault's."""
    os.chown(models, 12345, 23456)
    receipt = _install(store, models)
    for folder in receipt.folders:
        assert (models / folder).stat().st_uid == 12345
    for file in receipt.files:
        state = (models / file.path).stat()
        linked = file.placement is Placement.HARDLINK
        assert (state.st_uid, state.st_gid) == ((0, 0) if linked else (12345, 23456))


def test_split_and_several_ggufs_are_refused(store: Store, models: Path) -> None:
    """One file is what Ollama takes; the hints say how to get there."""
    runtime = OllamaRuntime({})
    data = tinygguf.tiny_llama()
    split = tinygguf.gguf(
        [
            tinygguf.string_pair("general.architecture", "llama"),
            tinygguf.pair("split.count", tinygguf.U16, b"\2\0"),
        ]
    )
    for files, words in (
        ({"m-00001-of-00002.gguf": data, "m-00002-of-00002.gguf": data}, "split into 2"),
        ({"m.gguf": split}, "split into 2"),
        ({"a-Q4_K_M.gguf": data, "b-Q8_0.gguf": data}, "2 GGUF files"),
        ({"model.safetensors": b"x"}, "loads GGUF"),
    ):
        artifact, manifest = make_artifact(store, files, kind="gguf")
        with pytest.raises(UnsuitableArtifact, match=words):
            runtime.plan(artifact, manifest, store, folder=models, name=None, when=WHEN)


def test_source_as_pulled_gets_the_conversion_as_hint(store: Store, models: Path) -> None:
    """The hint is the command that makes the model suitable."""
    artifact, manifest = make_artifact(store, {"model.safetensors": b"x"})
    with pytest.raises(UnsuitableArtifact) as caught:
        OllamaRuntime({}).plan(artifact, manifest, store, folder=models, name=None, when=WHEN)
    assert caught.value.hint == "modelvault convert acme/Tiny-1B --to gguf:Q4_K_M"


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF",
        b"not a gguf",
        tinygguf.gguf([], tensor_count=2**60),
    ],
)
def test_attack_hostile_gguf_is_refused(store: Store, models: Path, data: bytes) -> None:
    """A lying header never reaches the server."""
    artifact, manifest = make_artifact(store, {"m.gguf": data}, kind="gguf")
    with pytest.raises(MalformedWeights, match=r"m\.gguf"):
        OllamaRuntime({}).plan(artifact, manifest, store, folder=models, name=None, when=WHEN)


def test_gguf_without_architecture_is_refused(store: Store, models: Path) -> None:
    """What the server could not load is not installed."""
    artifact, manifest = make_artifact(store, {"m.gguf": tinygguf.gguf([])}, kind="gguf")
    with pytest.raises(UnsuitableArtifact, match="architecture"):
        OllamaRuntime({}).plan(artifact, manifest, store, folder=models, name=None, when=WHEN)


def test_model_name_too_long_for_ollama_is_refused(store: Store, models: Path) -> None:
    """A derived name keeps to Ollama's rules too; --as is the way out."""
    data = {"m.gguf": tinygguf.tiny_llama()}
    artifact, manifest = make_artifact(store, data, model=f"acme/{'x' * 90}", kind="gguf")
    with pytest.raises(BadOption):
        OllamaRuntime({}).plan(artifact, manifest, store, folder=models, name=None, when=WHEN)


# --- removal ---------------------------------------------------------------------------


def test_shared_blobs_stay_for_the_other_model(store: Store, models: Path) -> None:
    """Two names, one GGUF: each can go first, and the last takes the blobs along."""
    before = tree(models)
    runtime = OllamaRuntime({})
    one, two = _install(store, models, name="one"), _install(store, models, name="two")
    removal = runtime.undo(one)
    assert set(removal.kept) == {file.path for file in one.files[:-1]}
    _check_model(models, f"{HOME}/two/latest")
    assert runtime.undo(two).kept == ()
    left = [path for path in tree(models) if path not in before]
    assert not [path for path in left if "sha256-" in path or path.endswith(("one", "two"))]


def test_blobs_of_another_programs_model_are_never_removed(store: Store, models: Path) -> None:
    """A blob that some manifest of the user names stays, whoever brought it."""
    receipt = _install(store, models)
    other = models / "manifests" / "registry.ollama.ai" / "library" / "mine" / "latest"
    other.parent.mkdir()
    shutil.copy(models / receipt.files[-1].path, other)
    removal = OllamaRuntime({}).undo(receipt)
    assert removal.removed == (receipt.files[-1].path,)
    _check_model(models, f"{HOME}/mine/latest")


def test_unreadable_manifest_keeps_all_blobs(store: Store, models: Path) -> None:
    """A manifest that does not parse may name any blob."""
    receipt = _install(store, models)
    broken = models / HOME / "broken" / "latest"
    broken.parent.mkdir()
    broken.write_bytes(b"{")
    removal = OllamaRuntime({}).undo(receipt)
    assert removal.removed == (receipt.files[-1].path,)
    assert len(removal.kept) == 3
    (broken.parent / ".DS_Store").write_bytes(b"no manifest")


def test_model_removed_by_ollama_itself_is_no_error(store: Store, models: Path) -> None:
    """After ``ollama rm`` there is nothing left to take back."""
    receipt = _install(store, models)
    for file in receipt.files:
        (models / file.path).unlink()
    (models / HOME / "tiny-1b").rmdir()
    assert OllamaRuntime({}).undo(receipt).removed == ()
    assert not (models / HOME).exists()


def test_attack_folder_turned_into_a_link_is_not_followed(
    store: Store, models: Path, tmp_path: Path
) -> None:
    """Neither install nor undo leaves the models folder through a symbolic link."""
    receipt = _install(store, models)
    victim = tmp_path / "victim"
    (models / "blobs").rename(victim)
    (models / "blobs").symlink_to(victim)
    before = tree(victim)
    with pytest.raises(TargetChanged):
        OllamaRuntime({}).undo(receipt)
    with pytest.raises(BadPath):
        _install(store, models, name="other")
    assert tree(victim) == before


def test_replaced_model_takes_its_blobs_along(store: Store, models: Path) -> None:
    """What only the replaced model needed goes; what another still names stays."""
    runtime = OllamaRuntime({})
    old = _install(store, models, name="tiny")

    def replace(seed: bytes) -> Receipt:
        artifact = make_gguf(store, seed=seed)
        plan = runtime.plan(*artifact, store, folder=models, name="tiny", when=WHEN, replace=True)
        return runtime.apply(plan)

    shared = {file.path for file in replace(b"\1").files} & {file.path for file in old.files[:-1]}
    for file in old.files[:-1]:
        assert (models / file.path).exists() is (file.path in shared)
    assert len(shared) == 2  # config and licence are the same
    other = _install(store, models, name="other", seed=b"\1")
    new = replace(b"\2")
    _check_model(models, new.files[-1].path)
    _check_model(models, other.files[-1].path)


def test_replaced_manifest_that_is_damaged_costs_no_blob(store: Store, models: Path) -> None:
    """An unreadable manifest may be replaced; nothing is removed on its word."""
    _install(store, models, name="tiny")
    manifest = models / HOME / "tiny" / "latest"
    manifest.write_bytes(b"{")
    runtime = OllamaRuntime({})
    before = {path for path in tree(models) if "sha256-" in path}
    artifact = make_gguf(store, seed=b"\1")
    runtime.apply(
        runtime.plan(*artifact, store, folder=models, name="tiny", when=WHEN, replace=True)
    )
    assert before < {path for path in tree(models) if "sha256-" in path}
    _check_model(models, f"{HOME}/tiny/latest")


# --- other processes -------------------------------------------------------------------


class Pruner:
    """Ollama's pruning at start: removes blobs that no manifest names."""

    def __init__(self, models: Path, *, grace: float) -> None:
        """Take the models folder and the seconds for which young blobs are spared."""
        self._models = models
        self._grace = grace
        self.removed = 0

    def run(self) -> None:
        """Prune once, as the server's source does it."""
        named = set()
        for path in self._models.glob("manifests/*/*/*/*"):
            value = json.loads(path.read_bytes())  # a stray file here would stop the server
            named |= {item["digest"] for item in [value["config"], *value["layers"]]}
        for path in list((self._models / "blobs").iterdir()):
            if path.is_dir() or time.time() - path.stat().st_mtime < self._grace:
                continue
            if path.name.replace("-", ":") not in named:
                path.unlink()
                self.removed += 1


def _hook(monkeypatch: pytest.MonkeyPatch, name: str, action: Callable[[], None]) -> None:
    """Run ``action`` before and after every call of ``os.name``."""
    original = getattr(os, name)

    def call(*arguments: object, **options: object) -> object:
        action()
        result = original(*arguments, **options)
        action()
        return result

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("step", ["replace", "link", "fsync", "utime", "mkdir"])
def test_server_that_prunes_young_blobs_not_does_no_harm(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """With an hour of grace nothing is ever pruned: blobs are touched before they appear."""
    for path in [*store.paths.blobs.rglob("*")]:
        os.utime(path, (0, 0))
    make_gguf(store)
    for blob in store.blobs():
        os.utime(store.path(blob.digest), (0, 0))
    (models / "blobs").mkdir()
    pruner = Pruner(models, grace=3600)
    _hook(monkeypatch, step, pruner.run)
    _install(store, models)
    assert pruner.removed == 0
    _check_model(models, f"{HOME}/tiny-1b/q4_k_m")


def test_server_that_prunes_at_once_is_outlived(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old server starting right after the blobs appeared: they are brought again."""
    (models / "blobs").mkdir()
    pruner = Pruner(models, grace=0)
    runs = iter([pruner.run] * 2)

    def sync(path: Path) -> None:
        fsync(path)
        if path == models / "blobs":
            next(runs, lambda: None)()

    fsync = fsio.sync_folder
    monkeypatch.setattr(fsio, "sync_folder", sync)
    receipt = _install(store, models)
    assert pruner.removed > 0
    _check_model(models, receipt.files[-1].path)
    assert _no_leftovers(models)


def test_server_that_never_stops_pruning_is_reported(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When blobs vanish again and again, the error says what to do about the server."""

    def sweep(path: Path) -> None:
        fsync(path)
        for blob in (models / "blobs").glob("sha256-*"):
            blob.unlink()

    fsync = fsio.sync_folder
    monkeypatch.setattr(fsio, "sync_folder", sweep)
    with pytest.raises(TargetChanged) as caught:
        _install(store, models)
    assert "OLLAMA_NOPRUNE" in caught.value.hint


def test_server_that_removes_our_empty_stage_is_outlived(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old servers try to remove any unknown entry of blobs/: an empty folder goes."""
    swept: list[Path] = []

    def sweep() -> None:
        for path in (models / "blobs").glob(".modelvault-*"):
            if len(swept) < 2 and not any(path.iterdir()):
                path.rmdir()
                swept.append(path)

    _hook(monkeypatch, "link", sweep)
    _install(store, models)
    assert len(swept) == 2
    _check_model(models, f"{HOME}/tiny-1b/q4_k_m")


def test_second_install_at_the_same_time_waits_its_turn(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes do not stage in one folder at once."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(time, "monotonic", iter(range(0, 1000, 10)).__next__)
    with locked(models), pytest.raises(VaultBusy):
        _install(store, models)


def test_folder_that_may_not_be_written_is_a_storage_error(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback where the operating system refuses."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    artifact, manifest = make_gguf(store)
    runtime = OllamaRuntime({})
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(PermissionRefused):
        runtime.plan(artifact, manifest, store, folder=models, name=None, when=WHEN)


# --- crashes ---------------------------------------------------------------------------


@pytest.mark.parametrize("far", [False, True], ids=["hardlinks", "copies"])
def test_killed_install_is_mended_by_the_next(
    store: Store, tmp_path: Path, elsewhere: Path, far: bool
) -> None:
    """Killed at any step: no half model is visible, and running again completes it."""
    store = store if far else Store.create(tmp_path / "vault")
    folder = elsewhere if far else tmp_path / "models"
    folder.mkdir(exist_ok=True)
    manifest = folder / HOME / "tiny-1b" / "q4_k_m"
    make_gguf(store)
    for number in kill_points(lambda: _install(store, folder)):
        if manifest.exists():
            _check_model(folder, f"{HOME}/tiny-1b/q4_k_m")
        if number % 2 and (folder / "blobs").is_dir():
            Pruner(folder, grace=0).run()
        receipt = _install(store, folder)
        _check_model(folder, f"{HOME}/tiny-1b/q4_k_m")
        assert _no_leftovers(folder)
        OllamaRuntime({}).undo(receipt)
        assert not [path for path in tree(folder) if "sha256-" in path]
        shutil.rmtree(folder)
        folder.mkdir()


def test_killed_undo_is_completed_by_the_next(tmp_path: Path) -> None:
    """Killed at any step: the model is whole or invisible, and running again ends it."""
    runtime = OllamaRuntime({})
    store, models = Store.create(tmp_path / "vault"), tmp_path / "models"
    models.mkdir()
    before = tree(models)
    receipt = _install(store, models)
    for _ in kill_points(partial(runtime.undo, receipt)):
        if (models / receipt.files[-1].path).exists():
            _check_model(models, receipt.files[-1].path)
        runtime.undo(receipt)
        assert tree(models) == before
        _install(store, models)


def test_leftovers_of_others_are_left_alone(store: Store, models: Path) -> None:
    """Only what an install staged is cleared away, not what merely looks alike."""
    (models / "blobs" / ".modelvault-mine").mkdir(parents=True)
    (models / "blobs" / ".modelvault-staged-old").mkdir()
    _install(store, models)
    assert (models / "blobs" / ".modelvault-mine").is_dir()
    assert not (models / "blobs" / ".modelvault-staged-old").exists()
