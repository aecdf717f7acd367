"""A vault that a newer release has worked in: each verb names what it leaves alone."""

import dataclasses
from pathlib import Path

import pytest

from modelvault.app.export import ExportOptions, choose_artifacts, export
from modelvault.app.housekeeping import collect_garbage, rebuild
from modelvault.app.import_ import import_bundle
from modelvault.app.keys import trust_key
from modelvault.app.pull import plan_pull, pull
from modelvault.app.vault import Vault
from modelvault.app.verify import verify
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact, UnknownOrigin
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName, Reference
from modelvault.core.ports import Silence
from modelvault.errors import UnsupportedVersion
from modelvault.sources.folder.source import FolderSource
from modelvault.store.paths import VaultPaths
from tests.support.command import Site
from tests.support.future import newer_artifact, newer_manifest

OURS = "acme/tiny"
LATER = Reference.parse("acme/later")
FILE = b"a file of the newer model"


def pulled(root: Path, model: Path) -> Artifact:
    """Pull the folder; return its artefact."""
    source = FolderSource(model, ModelName.parse(OURS))
    plan = plan_pull(source, VaultPaths(root), include=(), exclude=())
    with Vault.open(root, create=True) as vault:
        pull(vault, plan, Silence())
        return vault.catalog.find(Reference.parse(OURS)).artifact


def keep(vault: Vault, artifact: Artifact, manifest: Manifest) -> Artifact:
    """Store and record an artefact as the release that wrote it does."""
    vault.keep(artifact, manifest)
    vault.catalog.add_artifact(artifact, manifest, event=Event(verb="pull", subject="later"))
    return artifact


@pytest.fixture
def root(tmp_path: Path, model: Path) -> Path:
    """Return a vault with a model of ours and one that a newer release pulled."""
    root = tmp_path / "vault"
    ours = pulled(root, model)
    with Vault.open(root) as vault:
        files = Manifest.of(
            [FileEntry(path="new.bin", digest=vault.store.put(FILE), size=len(FILE))]
        )
        later = dataclasses.replace(ours, model=LATER.model, manifest=files.digest)
        keep(vault, newer_artifact(later), files)
    return root


def test_verify_checks_the_rest_and_names_it(root: Path) -> None:
    """Asked for alone, it is refused; among others, it is named."""
    with Vault.open(root) as vault:
        done = verify(vault, (), Silence())
        assert [item.label for item in done.artifacts] == [OURS]
        (note,) = done.unsupported
        assert note.startswith("acme/later@")
        assert "of version 2" in note
        with pytest.raises(UnsupportedVersion):
            verify(vault, [LATER], Silence())


def test_verify_names_a_newer_manifest(root: Path) -> None:
    """The record can be read, what it names cannot: nothing is called damaged."""
    with Vault.open(root) as vault:
        files = newer_manifest(Manifest.of([]))
        ours = vault.catalog.find(Reference.parse(OURS)).artifact
        other = dataclasses.replace(ours, model=ModelName.parse("acme/n"), manifest=files.digest)
        keep(vault, other, files)
        done = verify(vault, (), Silence())
    assert [item.label for item in done.artifacts] == [OURS]
    assert len(done.unsupported) == 2
    assert "acme/n" in " ".join(done.unsupported)


def test_rebuild_and_gc_lose_nothing_of_a_newer_release(root: Path) -> None:
    """Rebuild names its record and keeps its row; gc keeps what the row names."""
    with Vault.open(root) as vault:
        (unsupported,) = vault.catalog.unsupported()
        done = rebuild(vault)
        assert [item.label for item in done.artifacts] == [OURS]
        assert done.unsupported == (unsupported.digest,)
        assert len(done.issues) == 1
        assert "update ModelVault" in done.issues[0]
        assert vault.catalog.unsupported() == (unsupported,)
        assert collect_garbage(vault, dry_run=False, partials=True).garbage.blobs == ()
        assert vault.store.has(unsupported.digest)


def test_gc_refuses_to_guess_what_a_newer_record_needs(root: Path) -> None:
    """Where the catalogue was lost, only the newer release can say which blobs are garbage."""
    (root / "catalog.db").write_bytes(b"no database" * 1000)
    with Vault.open(root) as vault:
        done = rebuild(vault)
        assert done.set_aside is not None
        assert len(done.unsupported) == 1
        assert vault.catalog.unsupported() == ()
        before = {blob.digest for blob in vault.store.blobs()}
        for dry_run in (True, False):
            with pytest.raises(UnsupportedVersion) as caught:
                collect_garbage(vault, dry_run=dry_run, partials=True)
            assert str(done.unsupported[0]) in caught.value.issues[0]
        assert {blob.digest for blob in vault.store.blobs()} == before


def test_export_and_import_carry_the_rest_and_name_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Export names what it cannot carry; import what it cannot read, in log and warnings."""
    medium, beyond = tmp_path / "medium", tmp_path / "beyond"
    with Vault.open(root) as vault:
        chosen = choose_artifacts(vault, ())
        assert [item.label for item in chosen.artifacts] == [OURS]
        assert [item.partition("@")[0] for item in chosen.left_out] == ["acme/later"]
        with pytest.raises(UnsupportedVersion):
            choose_artifacts(vault, [LATER])
        later = newer_artifact(chosen.artifacts[0])
        newer = dataclasses.replace(chosen, artifacts=(*chosen.artifacts, later))
        export(vault, newer, medium, ExportOptions(), Silence())
    with Vault.open(beyond, create=True) as vault:
        trust_key(vault, medium, label="publisher", fingerprint=None, confirm=lambda _: True)
        done = import_bundle(vault, medium, Silence())
        assert [item.label for item in done.new] == [OURS]
        assert len(done.left_out) == 1
        assert "update ModelVault and import the bundle again" in done.warnings[-1]
        (entry,) = [
            item
            for item in vault.catalog.history()
            if "serial" in item.details and "artifact" not in item.details
        ]
        assert str(later.digest) in entry.details["left_out"]
        assert not vault.store.has(later.digest)


def test_commands_name_a_newer_artifact_and_go_on(root: Path, tmp_path: Path) -> None:
    """As the user sees it: list, verify, rebuild and export, each with success."""
    site = Site(tmp_path / "site")
    home = ("--vault", root, "--json")
    listed = {row["reference"].partition("@")[0] for row in site.run(*home, "list").ok().document}
    assert listed == {OURS, "acme/later"}
    checked = site.run(*home, "verify").ok().document
    assert (len(checked["artifacts"]), len(checked["unsupported"])) == (1, 1)
    assert len(site.run(*home, "rebuild").ok().document["unsupported"]) == 1
    bundle = tmp_path / "stick"
    done = site.run("--vault", root, "export", "--bundle", bundle).ok()
    assert "not exported: acme/later" in done.stderr
    shown = site.run("--json", "bundle", "show", bundle).ok().document
    assert (len(shown["artifacts"]), shown["left_out"]) == (1, [])
    refused = site.run(*home, "show", LATER.label)
    assert refused.status == 2
    assert "update ModelVault" in refused.stderr


def test_artifact_of_an_unknown_origin_is_shown_as_such(root: Path, tmp_path: Path) -> None:
    """It is an artefact like any other; its origin is named and kept word for word."""
    origin = UnknownOrigin(kind="registry", fields={"host": "r.example"})
    with Vault.open(root) as vault:
        ours = vault.catalog.find(Reference.parse(OURS)).artifact
        other = dataclasses.replace(ours, model=ModelName.parse("acme/other"), origin=origin)
        keep(vault, other, vault.manifest(ours))
    site = Site(tmp_path / "site")
    assert "registry: unknown to this release" in (
        site.run("--vault", root, "show", "acme/other").ok().stdout
    )
    shown = site.run("--vault", root, "--json", "show", "acme/other").ok().document
    assert shown["record"]["origin"] == {"kind": "registry", "host": "r.example"}
    assert shown["artifact"] == str(other.digest)
    assert "acme/other" in site.run("--vault", root, "list").ok().stdout
