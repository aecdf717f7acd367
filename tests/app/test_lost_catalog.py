"""What a vault does when its catalogue is lost, old, or another's: nothing is collected."""

import os
import shutil
from pathlib import Path

import pytest

from modelvault.app.housekeeping import collect_garbage, rebuild, remove
from modelvault.app.pull import plan_pull, pull
from modelvault.app.vault import Vault
from modelvault.app.verify import verify
from modelvault.core.names import ModelName
from modelvault.core.ports import Silence
from modelvault.errors import CatalogIncomplete, CatalogUnavailable, Corruption, ForeignCatalog
from modelvault.sources.folder.source import FolderSource
from modelvault.store.paths import VaultPaths
from tests.app.conftest import assert_sound


def do_pull(root: Path, model: Path, name: str = "acme/tiny") -> None:
    """Pull the folder."""
    source = FolderSource(model, ModelName.parse(name))
    plan = plan_pull(source, VaultPaths(root), include=(), exclude=())
    with Vault.open(root, create=True) as vault:
        pull(vault, plan, Silence())


def blobs(root: Path) -> list[str]:
    """Return the names of the blobs."""
    return sorted(path.name for path in (root / "blobs").rglob("*") if path.is_file())


@pytest.fixture
def root(tmp_path: Path, model: Path) -> Path:
    """A vault that holds one model."""
    folder = tmp_path / "vault"
    do_pull(folder, model)
    return folder


def lose(root: Path) -> None:
    """Remove the catalogue, side files included."""
    for path in root.glob("catalog.db*"):
        path.unlink()


def test_gc_without_a_catalog_removes_nothing(root: Path) -> None:
    """The blobs of a lost catalogue are no garbage; rebuild brings the model back."""
    before = blobs(root)
    lose(root)
    with Vault.open(root) as vault, pytest.raises(CatalogIncomplete):
        collect_garbage(vault, dry_run=False, partials=True)
    assert blobs(root) == before
    with Vault.open(root) as vault:
        assert [item.label for item in rebuild(vault).artifacts] == ["acme/tiny"]
        assert collect_garbage(vault, dry_run=False, partials=False).garbage.blobs == ()
    assert assert_sound(root) == ["acme/tiny"]


def test_pull_into_a_vault_without_its_catalog_is_refused_first(root: Path, model: Path) -> None:
    """Said before anything is fetched, and no new catalogue hides the loss."""
    lose(root)
    (model / "more.txt").write_text("x" * 1000)
    before = blobs(root)
    with pytest.raises(CatalogIncomplete):
        do_pull(root, model, "acme/other")
    assert blobs(root) == before


def test_gc_with_an_old_backup_of_the_catalog_removes_nothing(root: Path, model: Path) -> None:
    """What the backup does not know is still in the store, and is named."""
    backup = root.parent / "backup.db"
    with Vault.open(root) as vault:
        vault.catalog.verify_history()
    shutil.copy(root / "catalog.db", backup)
    (model / "config.json").write_text("{}")
    do_pull(root, model, "acme/newer")
    before = blobs(root)
    lose(root)
    shutil.copy(backup, root / "catalog.db")
    with Vault.open(root) as vault:
        with pytest.raises(CatalogIncomplete, match="1 artefacts") as caught:
            collect_garbage(vault, dry_run=False, partials=False)
        assert caught.value.issues[0].startswith("acme/newer@")
        with pytest.raises(Corruption) as found:
            verify(vault, (), Silence())
        assert any("acme/newer" in issue and "rebuild" in issue for issue in found.value.issues)
    assert blobs(root) == before
    with Vault.open(root) as vault:
        assert len(rebuild(vault).artifacts) == 2
        assert verify(vault, (), Silence()).artifacts


def test_gc_with_another_vaults_catalog_removes_nothing(root: Path, tmp_path: Path) -> None:
    """Refused; rebuild sets the stranger's aside and makes the vault's own."""
    other_model = tmp_path / "other-model"
    other_model.mkdir()
    (other_model / "config.json").write_text('{"other": 1}')
    do_pull(tmp_path / "other", other_model, "acme/other")
    before = blobs(root)
    lose(root)
    for path in (tmp_path / "other").glob("catalog.db*"):
        shutil.copy(path, root / path.name)
    with Vault.open(root) as vault, pytest.raises(ForeignCatalog):
        collect_garbage(vault, dry_run=False, partials=False)
    assert blobs(root) == before
    with Vault.open(root) as vault:
        restored = rebuild(vault)
        assert restored.set_aside is not None
        assert restored.set_aside.is_file()
        assert [str(row.reference.model) for row in vault.catalog.listing()] == ["acme/tiny"]
        assert collect_garbage(vault, dry_run=False, partials=False).garbage.blobs == ()


def test_database_named_in_the_settings_is_used(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``catalog.url`` counts where no variable is set: a server that does not answer is said."""
    monkeypatch.delenv("MODELVAULT_DATABASE_URL", raising=False)
    (root / "config.toml").write_text(
        '[catalog]\nurl = "postgresql://vault@127.0.0.1:1/models?connect_timeout=1"\n'
    )
    with (
        Vault.open(root) as vault,
        pytest.raises(CatalogUnavailable, match=r"127\.0\.0\.1:1/models"),
    ):
        vault.open_catalog()
    (root / "config.toml").write_text('[catalog]\nurl = "sqlite"\n')
    with Vault.open(root) as vault:
        assert len(vault.catalog.listing()) == 1


def test_record_that_a_killed_remove_left_is_garbage(root: Path) -> None:
    """What was forgotten on purpose, says the log, is no loss: gc takes it as before."""
    with Vault.open(root) as vault:
        (row,) = vault.catalog.artifacts()
        artifact = row.artifact
        remove(vault, artifact.reference)
        vault.store.put(artifact.encode())
        record = vault.store.path(artifact.digest)
        os.utime(record, (0, 0))  # kept long before it was removed
        assert len(collect_garbage(vault, dry_run=False, partials=False).garbage.blobs) > 1
        assert blobs(root) == []
