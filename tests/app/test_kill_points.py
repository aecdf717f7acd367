"""Killed at any durable step, reopened: nothing lost, nothing half-published, goes on.

For each verb the action runs in a child that dies before its n-th durable step. Then the
vault must be sound as it stands, the same action must succeed from there, and the result
must be what an undisturbed run gives.
"""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault.app.export import ExportOptions, choose_artifacts, export
from modelvault.app.housekeeping import collect_garbage, rebuild, remove
from modelvault.app.import_ import import_bundle
from modelvault.app.install import install, plan_install, uninstall
from modelvault.app.keys import trust_key
from modelvault.app.pull import plan_pull, pull
from modelvault.app.vault import Vault
from modelvault.bundle.read.bundle import open_bundle
from modelvault.core.names import ModelName, Reference
from modelvault.core.ports import Silence
from modelvault.errors import ArtifactNotFound, InstallNotFound
from modelvault.fsio import flushing
from modelvault.sources.folder import source as folder_source
from modelvault.sources.folder.source import FolderSource
from modelvault.store.paths import VaultPaths
from modelvault.trust.policy import IntegrityVerifier
from tests.app.conftest import FILES, assert_sound
from tests.support.killpoints import kill_points

pytestmark = pytest.mark.memory

LABEL = "acme/tiny"
REFERENCE = Reference.parse(LABEL)
Restore = Callable[[Path, Path], None]


def do_pull(root: Path, model: Path) -> None:
    """Pull the folder."""
    source = FolderSource(model, ModelName.parse(LABEL))
    plan = plan_pull(source, VaultPaths(root), include=(), exclude=())
    with Vault.open(root, create=True) as vault:
        pull(vault, plan, Silence())


def do_export(root: Path, folder: Path) -> None:
    """Export everything."""
    with Vault.open(root) as vault:
        chosen = choose_artifacts(vault, ())
        export(vault, chosen, folder, ExportOptions(volume_size=40_000), Silence())


def do_trust(root: Path, folder: Path) -> None:
    """Trust the bundle's key."""
    with Vault.open(root, create=True) as vault:
        trust_key(vault, folder, label="publisher", fingerprint=None, confirm=lambda _: True)


def do_import(root: Path, folder: Path) -> None:
    """Import the bundle."""
    with Vault.open(root) as vault:
        import_bundle(vault, folder, Silence())


def do_install(root: Path, folder: Path) -> None:
    """Install the model as a folder."""
    with Vault.open(root) as vault:
        plan = plan_install(vault, REFERENCE, "vllm", folder, "tiny", replace=False)
        install(vault, plan, Silence())


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def pulled(tmp_path: Path, model: Path) -> Path:
    """Return a vault that holds the model."""
    root = tmp_path / "pulled"
    do_pull(root, model)
    return root


@pytest.fixture
def exported(tmp_path: Path, pulled: Path) -> Path:
    """Return a medium that holds a bundle of the model."""
    folder = tmp_path / "medium"
    do_export(pulled, folder)
    return folder


@pytest.fixture(params=["few", "many", "large"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the model's files count as few small ones, many, or large ones."""
    if request.param == "many":
        monkeypatch.setattr(flushing, "FEW", 1)
    if request.param == "large":
        monkeypatch.setattr(folder_source, "SMALL", 10)
    return str(request.param)


@pytest.mark.usefixtures("sizes")
def test_killed_pull_loses_nothing(tmp_path: Path, model: Path, restore: Restore) -> None:
    """Wherever it dies, no blob is wrong, and the second run ends with the whole model."""
    root, deaths = tmp_path / "vault", 0
    for _ in kill_points(lambda: do_pull(root, model)):
        deaths += 1
        assert_sound(root)
        do_pull(root, model)
        assert assert_sound(root) == [LABEL]
        restore(tmp_path / "nothing", root)
    assert deaths > len(FILES)


def test_killed_export_never_looks_like_a_bundle(
    tmp_path: Path, pulled: Path, restore: Restore
) -> None:
    """The medium holds no bundle or a whole one; the second run completes it."""
    root, folder = tmp_path / "vault", tmp_path / "medium"
    restore(pulled, root)
    for _ in kill_points(lambda: do_export(root, folder)):
        assert assert_sound(root) == [LABEL]
        if (folder / "modelvault-bundle").exists():
            found = open_bundle(folder)
            found.verify(IntegrityVerifier(found.publisher)).check_carriers()
        do_export(root, folder)
        found = open_bundle(folder)
        found.verify(IntegrityVerifier(found.publisher)).check_carriers()
        restore(pulled, root)
        shutil.rmtree(folder)


@pytest.mark.usefixtures("sizes")
def test_killed_import_goes_on_and_publishes_nothing_unverified(
    tmp_path: Path, exported: Path, restore: Restore
) -> None:
    """Wherever it dies, the vault is sound, and the second run brings the whole model."""
    base, root, deaths = tmp_path / "trusting", tmp_path / "closed", 0
    do_trust(base, exported)
    restore(base, root)
    for _ in kill_points(lambda: do_import(root, exported)):
        deaths += 1
        assert assert_sound(root) in ([], [LABEL])
        do_import(root, exported)
        assert assert_sound(root) == [LABEL]
        restore(base, root)
    assert deaths > len(FILES)


def test_killed_install_leaves_no_half_model(
    tmp_path: Path, pulled: Path, restore: Restore
) -> None:
    """The runtime sees no model or a whole one; the second run records its receipt."""
    root, folder = tmp_path / "vault", tmp_path / "models"
    restore(pulled, root)
    for _ in kill_points(lambda: do_install(root, folder)):
        assert assert_sound(root) == [LABEL]
        if (folder / "tiny").exists():
            assert files_below(folder / "tiny").keys() == FILES.keys()
        do_install(root, folder)
        assert files_below(folder / "tiny") == FILES
        with Vault.open(root) as vault:
            assert len(vault.catalog.installs()) == 1
            uninstall(vault, "tiny", None, None)
        assert files_below(folder) == {}
        restore(pulled, root)
        shutil.rmtree(folder, ignore_errors=True)


def test_killed_uninstall_can_be_repeated(tmp_path: Path, pulled: Path, restore: Restore) -> None:
    """Whatever is gone already is no error the second time."""
    base, root, folder = tmp_path / "base", tmp_path / "vault", tmp_path / "models"
    restore(pulled, base)

    def start() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        restore(base, root)
        do_install(root, folder)

    def act() -> None:
        with Vault.open(root) as vault:
            uninstall(vault, "tiny", None, None)

    start()
    for _ in kill_points(act):
        assert assert_sound(root) == [LABEL]
        with contextlib.suppress(InstallNotFound):  # where it died after its last step
            act()
        assert files_below(folder) == {}
        with Vault.open(root) as vault:
            assert vault.catalog.installs() == ()
        start()


def test_killed_remove_and_gc_keep_what_is_referenced(
    tmp_path: Path, pulled: Path, model: Path, restore: Restore
) -> None:
    """Another model that shares blobs with the removed one survives every death."""
    base, root = tmp_path / "base", tmp_path / "vault"
    restore(pulled, base)
    other = FolderSource(model, ModelName.parse("acme/other"))
    with Vault.open(base) as vault:
        pull(vault, plan_pull(other, VaultPaths(base), include=(), exclude=()), Silence())
    restore(base, root)

    def act() -> None:
        with Vault.open(root) as vault:
            with contextlib.suppress(ArtifactNotFound):
                remove(vault, REFERENCE)
            collect_garbage(vault, dry_run=False, partials=False)

    for _ in kill_points(act):
        assert "acme/other" in assert_sound(root)
        act()
        assert assert_sound(root) == ["acme/other"]
        restore(base, root)


def test_killed_rebuild_can_be_repeated(tmp_path: Path, pulled: Path, restore: Restore) -> None:
    """With the catalogue gone, every death on the way is healed by the next run."""
    base, root = tmp_path / "base", tmp_path / "vault"
    restore(pulled, base)
    for path in base.glob("catalog.db*"):
        path.unlink()
    restore(base, root)

    def act() -> None:
        with Vault.open(root) as vault:
            rebuild(vault)

    for _ in kill_points(act):
        act()
        assert assert_sound(root) == [LABEL]
        restore(base, root)
