"""Installs as the vault remembers them: receipts from the future, damaged ones, states."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.housekeeping import rebuild, remove
from modelvault.app.install import Installed, install, plan_install, uninstall
from modelvault.app.pull import plan_pull, pull
from modelvault.app.status import status
from modelvault.app.vault import Vault
from modelvault.catalog.listing import read_listing
from modelvault.core import canonical
from modelvault.core.names import ModelName, Reference
from modelvault.core.ports import Silence
from modelvault.errors import CatalogDamaged, TargetConflict, UnsupportedVersion
from modelvault.sources.folder.source import FolderSource
from modelvault.store.paths import VaultPaths
from modelvault.targets import standing
from tests.contracts.runtimes import files_below
from tests.support.filesystems import other_file_system

pytestmark = pytest.mark.memory

ONE, OTHER = "acme/tiny", "acme/other"
Change = Callable[[dict[str, Any]], None]


def _top(**changes: Any) -> Change:
    return lambda receipt: receipt.update(changes)


def _row(**changes: Any) -> Change:
    def change(receipt: dict[str, Any]) -> None:
        receipt["_type"] = "modelvault/receipt/v2"
        for row in receipt["files"]:
            row.setdefault("kind", "file")
        receipt["files"][0].update(changes)

    return change


def _growing(receipt: dict[str, Any]) -> None:
    _row()(receipt)
    receipt["services"] = ["vllm@tiny.service"]


FUTURE = {
    "version": _top(_type="modelvault/receipt/v3", files="by then a string"),
    "field": _growing,
    "kind": _row(kind="socket"),
    "field-of-a-file": _row(blocks=[1, 2]),
    "placement": _row(placement="overlay"),
}
"""What releases to come may write, each a thing that this one does not know."""

NEWER = "written by a newer release; update modelvault to uninstall it"


@pytest.fixture
def root(tmp_path: Path, model: Path) -> Path:
    """A vault with two models, each installed once, into ``target``."""
    root = tmp_path / "vault"
    with Vault.open(root, create=True) as vault:
        for label in (ONE, OTHER):
            (model / "README.md").write_bytes(f"---\nlicense: mit\n---\n# {label}\n".encode())
            source = FolderSource(model, ModelName.parse(label))
            plan = plan_pull(source, VaultPaths(root), include=(), exclude=())
            pull(vault, plan, Silence())
            _install(vault, label, tmp_path / "target")
    return root


def _install(vault: Vault, label: str, folder: Path, **options: Any) -> Installed:
    settings = {"name": None, "replace": False, **options}
    plan = plan_install(vault, Reference.parse(label), "vllm", folder, **settings)
    return install(vault, plan, Silence())


def _rewrite(root: Path, change: Change) -> bytes:
    """Change the first receipt in the database; return its new bytes."""
    with closing(sqlite3.connect(root / "catalog.db")) as database, database:
        query = "SELECT receipt FROM installs WHERE id = 1"
        receipt = dict(canonical.parse(database.execute(query).fetchone()[0].encode(), limit=10**6))  # type: ignore[arg-type]
        change(receipt)
        data = canonical.encode(receipt)
        database.execute("UPDATE installs SET receipt = ? WHERE id = 1", (data.decode(),))
    return data


def _states(vault: Vault) -> dict[str, str]:
    return {row.name: row.state for row in status(vault, Silence())}


@pytest.mark.parametrize("what", sorted(FUTURE))
def test_receipt_from_the_future_is_one_row_and_hides_no_other(
    root: Path, tmp_path: Path, what: str
) -> None:
    """It is named as such, kept verbatim and never obeyed; everything else works on."""
    data = _rewrite(root, FUTURE[what])
    target = tmp_path / "target"
    with Vault.open(root) as vault:
        assert _states(vault) == {ONE: NEWER, OTHER: "in place"}
        before = files_below(target)
        with pytest.raises(UnsupportedVersion) as caught:
            uninstall(vault, ONE, None, None)
        assert "update modelvault" in caught.value.hint
        assert files_below(target) == before
        uninstall(vault, OTHER, None, None)
        assert not (target / OTHER).exists()
        with pytest.raises(TargetConflict):
            remove(vault, Reference.parse(ONE))
        remove(vault, Reference.parse(OTHER))
        rebuild(vault)
        assert [item.install.receipt for item in vault.catalog.installs()] == [data]
        assert _states(vault) == {ONE: NEWER}
    assert {row.targets for row in read_listing(VaultPaths(root))} == {("vllm",)}


def test_receipt_from_the_future_survives_an_install_of_the_same_model(
    root: Path, tmp_path: Path
) -> None:
    """Mending what stands there keeps the receipt that knows more of it."""
    data = _rewrite(root, _growing)
    (tmp_path / "target" / ONE / "config.json").unlink()
    (tmp_path / "target" / ONE / "tokenizer.json").unlink()
    with Vault.open(root) as vault:
        assert not _install(vault, ONE, tmp_path / "target", replace=True).new
        assert vault.catalog.installs()[0].install.receipt == data
    assert (tmp_path / "target" / ONE / "config.json").is_file()


def test_model_of_a_newer_release_is_not_replaced(root: Path, tmp_path: Path) -> None:
    """What only a newer release can take back is not overwritten: its receipt would be lost."""
    data = _rewrite(root, _growing)
    before = files_below(tmp_path / "target")
    with Vault.open(root) as vault:
        with pytest.raises(UnsupportedVersion):
            _install(vault, OTHER, tmp_path / "target", name=ONE, replace=True)
        assert vault.catalog.installs()[0].install.receipt == data
    assert files_below(tmp_path / "target") == before


def test_runtime_of_a_newer_release_is_named_as_such(root: Path, tmp_path: Path) -> None:
    """A receipt that this release can read, for a runtime that it does not know."""
    _rewrite(root, _top(target="hologram"))
    with closing(sqlite3.connect(root / "catalog.db")) as database, database:
        database.execute("UPDATE installs SET target = 'hologram' WHERE id = 1")
    with Vault.open(root) as vault:
        assert _states(vault) == {ONE: "in place", OTHER: "in place"}
        with pytest.raises(UnsupportedVersion, match="hologram"):
            uninstall(vault, ONE, None, None)


@pytest.mark.parametrize(
    "change",
    [
        _top(location="/etc"),
        _top(artifact=f"sha256:{'0' * 64}"),
        _top(files=[{"path": "../../etc/passwd"}]),
        _top(_type="modelvault/receipt/v1", extra=1),
        _row(path="../../etc/passwd"),
        _row(kind="link", link="/etc/passwd"),
    ],
)
def test_attack_altered_receipt_is_not_obeyed(root: Path, tmp_path: Path, change: Change) -> None:
    """It is damage, of that one install; the others work, and installing again mends it."""
    _rewrite(root, change)
    before = files_below(tmp_path / "target")
    with Vault.open(root) as vault:
        assert _states(vault) == {ONE: "receipt damaged", OTHER: "in place"}
        with pytest.raises(CatalogDamaged, match="install 1 "):
            uninstall(vault, ONE, None, None)
        assert files_below(tmp_path / "target") == before
        assert _install(vault, ONE, tmp_path / "target").new
        assert set(_states(vault).values()) == {"in place"}
        uninstall(vault, ONE, None, None)
    assert not (tmp_path / "target" / ONE).exists()


def test_receipt_that_is_no_json_is_one_row(root: Path, tmp_path: Path) -> None:
    """Not even text: the row says so, and the others stand."""
    for damage in ("{", b"\xff\x00"):
        with closing(sqlite3.connect(root / "catalog.db")) as database, database:
            database.execute("UPDATE installs SET receipt = ? WHERE id = 1", (damage,))
        with Vault.open(root) as vault:
            assert _states(vault) == {ONE: "receipt damaged", OTHER: "in place"}


def test_state_says_what_was_read(
    root: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large copies are judged by size until they are read; what differs is counted."""
    monkeypatch.setattr(standing, "SMALL", 10)
    with (
        other_file_system(tmp_path, tmp_path_factory.getbasetemp()) as far,
        Vault.open(root) as vault,
    ):
        _install(vault, ONE, far, name="far")

        def state(*, read: bool) -> str:
            return {row.name: row.state for row in status(vault, Silence(), read=read)}["far"]

        assert (state(read=False), state(read=True)) == ("in place by size", "in place")
        weights = far / "far" / "model.safetensors"
        weights.write_bytes(bytes(weights.stat().st_size))
        assert (state(read=False), state(read=True)) == ("in place by size", "1 changed")
        weights.unlink()
        assert (state(read=False), state(read=True)) == ("1 missing", "1 missing")
