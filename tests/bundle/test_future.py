"""Bundles from the future: what this release reads of them, and what it says of the rest."""

import dataclasses
from pathlib import Path

import pytest

from modelvault.bundle.read.cargo import read_cargo
from modelvault.bundle.read.check import check_bundle
from modelvault.bundle.read.receive import import_blobs
from modelvault.bundle.write.bundle import write_bundle
from modelvault.core.artifact import Artifact, UnknownOrigin
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import (
    BlobMissing,
    BundleDamaged,
    MalformedRecord,
    UnsupportedVersion,
)
from tests.support.bundles import (
    OPTIONS,
    PUBLISHER,
    Site,
    add_model,
    blob_digests,
    flip,
    holds,
    make_site,
    noise,
    snapshot,
)
from tests.support.future import newer_artifact, newer_manifest, next_version

SHARED = noise(20_000, 3)
NEW = noise(30_000, 4)


def mixed_site(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, manifest: bool = False, old: bool = True
) -> tuple[Site, Artifact]:
    """Return a site whose bundle holds a model of a newer release too, and that model.

    Args:
        root: Where both sides go.
        monkeypatch: Lets the export read what a newer release would.
        manifest: Whether the new manifest is of the next version, not only the record.
        old: Whether a model of this release is in the bundle.
    """
    site = make_site(root, {"config.json": b"{}", "shared.bin": SHARED})
    added = add_model(site.store, "org/later", {"shared.bin": SHARED, "new.bin": NEW})
    if manifest:
        files = Manifest.parse(site.store.read(added.manifest, limit=2**20))
        data = newer_manifest(files).encode()
        added = dataclasses.replace(added, manifest=site.store.put(data))
        parse = Manifest.parse
        monkeypatch.setattr(
            "modelvault.bundle.write.selection.Manifest.parse",
            lambda given: files if given == data else parse(given),
        )
    else:
        added = newer_artifact(added)
    artifacts = (*site.artifacts, added) if old else (added,)
    write_bundle(artifacts, site.store, site.medium, signer=PUBLISHER, options=OPTIONS)
    monkeypatch.undo()
    return site, added


@pytest.mark.parametrize("manifest", [False, True])
def test_artifact_of_a_newer_release_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: bool
) -> None:
    """The others are imported whole; it is named, and nothing of it is stored."""
    site, added = mixed_site(tmp_path, monkeypatch, manifest=manifest)
    received = import_blobs(site.verified(), site.beyond)
    assert [artifact for artifact, _ in received.artifacts] == list(site.artifacts)
    assert holds(site.beyond, site.artifacts[0])
    (left_out,) = received.left_out
    assert "of version 2; this release reads 1" in left_out
    assert ("org/later" if manifest else str(added.digest)) in left_out
    assert not blob_digests(site.beyond) & {Digest.of(NEW), added.digest, added.manifest}
    again = import_blobs(site.verified(), site.beyond)
    assert (again.new_bytes, again.left_out) == (0, received.left_out)


@pytest.mark.parametrize("manifest", [False, True])
def test_verify_reads_what_it_cannot_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: bool
) -> None:
    """Every byte is checked, whoever will read it; damage is told from novelty."""
    site, _ = mixed_site(tmp_path, monkeypatch, manifest=manifest)
    checked = check_bundle(site.verified())
    assert len(checked.cargo.left_out) == 1
    assert checked.size == site.verified().index.stored_size
    last = site.verified().index.carriers[-1]
    flip(site.bundle / last.name, last.size - 1)
    with pytest.raises(BundleDamaged) as caught:
        check_bundle(site.verified())
    (issue,) = caught.value.issues
    assert ("newer release" if manifest else "new.bin") in issue
    import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])


def test_bundle_of_newer_artifacts_only_asks_for_an_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to import, and that is no success."""
    site, _ = mixed_site(tmp_path, monkeypatch, old=False)
    before = snapshot(site.beyond)
    with pytest.raises(UnsupportedVersion) as caught:
        import_blobs(site.verified(), site.beyond)
    assert len(caught.value.issues) == 1
    assert "update ModelVault" in caught.value.hint
    assert snapshot(site.beyond) == before


def test_files_assumed_by_a_newer_artifact_are_not_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the left-out artefact builds on need not be in the vault."""
    site = make_site(tmp_path, {"config.json": b"{}", "shared.bin": SHARED})
    added = add_model(site.store, "org/later", {"new.bin": NEW})
    options = dataclasses.replace(OPTIONS, assumed=frozenset({Digest.of(NEW)}))
    artifacts = (*site.artifacts, newer_artifact(added))
    write_bundle(artifacts, site.store, site.medium, signer=PUBLISHER, options=options)
    import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])
    site = make_site(tmp_path / "other", {"shared.bin": SHARED})
    site.export(assumed=frozenset({Digest.of(SHARED)}))
    with pytest.raises(BlobMissing):
        import_blobs(site.verified(), site.beyond)


def test_attack_with_a_blob_beside_a_newer_record_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that can be read says what belongs to it: nothing else may travel along."""
    site, added = mixed_site(tmp_path, monkeypatch)
    index = site.verified().index
    assert read_cargo(site.verified()).left_out
    kept = tuple(entry for entry in index.artifacts if entry.record != added.digest)
    site.sign(dataclasses.replace(index, artifacts=kept).encode())
    with pytest.raises(MalformedRecord) as caught:
        import_blobs(site.verified(), site.beyond)
    assert any(str(Digest.of(NEW)) in issue for issue in caught.value.issues)


def test_artifact_of_an_unknown_origin_crosses_unchanged(tmp_path: Path) -> None:
    """It has the same identity on the other side, and is no reason to refuse a bundle."""
    site = make_site(tmp_path)
    origin = UnknownOrigin(kind="registry", fields={"host": "r.example", "tags": ["a", {"b": 1}]})
    artifact = dataclasses.replace(site.artifacts[0], origin=origin)
    site.store.put(artifact.encode())
    site = dataclasses.replace(site, artifacts=(artifact,))
    site.export()
    received = import_blobs(site.verified(), site.beyond)
    assert received.left_out == ()
    assert [item.digest for item, _ in received.artifacts] == [artifact.digest]
    assert holds(site.beyond, artifact)


def test_damaged_record_is_damage_whatever_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest is compared before anything is parsed."""
    site, added = mixed_site(tmp_path, monkeypatch)
    record = next(b for b in site.verified().index.blobs if b.digest == added.digest)
    (piece,) = record.pieces
    carrier = site.verified().index.carriers[piece.carrier]
    flip(site.bundle / carrier.name, piece.offset + 30)
    with pytest.raises(BundleDamaged):
        import_blobs(site.verified(), site.beyond)
    assert next_version(site.artifacts[0].encode()) != added.encode()
