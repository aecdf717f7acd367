"""Artefacts: added once, removed when nothing needs them, rebuilt from the store."""

import dataclasses
import datetime as dt
import random

import pytest

from modelvault.catalog.catalog import Catalog
from modelvault.catalog.values import CatalogedArtifact, Install
from modelvault.core.artifact import FolderOrigin, HubOrigin
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.errors import (
    ArtifactNotFound,
    CatalogDamaged,
    MalformedRecord,
    TargetConflict,
)
from tests.catalog.place import (
    COMMIT_B,
    START,
    Place,
    add,
    artifact,
    converted,
    event,
    find,
    manifest,
)


def test_added_artifact_is_found_with_its_facts(catalog: Catalog) -> None:
    """What went in comes out, with size, labels and time."""
    files = manifest("one", "three")
    item = artifact(files)
    assert catalog.add_artifact(item, files, event=event())
    assert catalog.artifact(item.digest) == CatalogedArtifact(
        artifact=item,
        digest=item.digest,
        size=8,
        file_count=2,
        labels=("main",),
        created_at=START,
    )


def test_known_artifact_is_not_added_again(catalog: Catalog) -> None:
    """Adding is idempotent; the event is logged each time."""
    item = add(catalog, artifact())
    assert not catalog.add_artifact(item, manifest(), event=event())
    assert [found.artifact for found in catalog.artifacts()] == [item]
    assert catalog.verify_history() == 2


def test_known_artifact_pulled_again_moves_its_label_back(catalog: Catalog) -> None:
    """A branch that was reset upstream points to the older commit again."""
    old = add(catalog, artifact())
    new = add(catalog, artifact(commit=COMMIT_B))
    assert find(catalog, "org/name@main") == new
    add(catalog, old)
    assert find(catalog, "org/name@main") == old
    assert catalog.artifact(old.digest).labels == ("main",)
    assert catalog.artifact(new.digest).labels == ()


def test_wrong_manifest_is_refused_and_nothing_changes(catalog: Catalog) -> None:
    """An artefact never gets another's files, and the event goes with the change."""
    with pytest.raises(MalformedRecord, match="manifest"):
        catalog.add_artifact(artifact(), manifest("other"), event=event())
    assert list(catalog.artifacts()) == []
    assert catalog.verify_history() == 0


def test_import_adds_all_or_nothing(catalog: Catalog) -> None:
    """One bad artefact of many undoes the whole transaction, log included."""
    good = (artifact(), manifest())
    bad = (artifact(commit=COMMIT_B), manifest("other"))
    with pytest.raises(MalformedRecord):
        catalog.add_artifacts([good, bad], event=event("import", "bundle"))
    assert list(catalog.artifacts()) == []
    assert catalog.chain_head().sequence == 0


def test_import_gives_each_new_artifact_its_own_event(catalog: Catalog) -> None:
    """The history of an imported model begins with its import."""
    known = add(catalog, artifact())
    files = manifest("more")
    new = artifact(files, commit=COMMIT_B)
    added = catalog.add_artifacts(
        [(known, manifest()), (new, files)], event=event("import", "bundle", serial="7")
    )
    assert added == (new.digest,)
    recorded = list(catalog.history())[-2:]
    assert [item.subject for item in recorded] == ["bundle", str(new.reference)]
    assert recorded[1].details == {"serial": "7", "artifact": str(new.digest)}


def test_manifest_of_many_files_is_kept_whole(catalog: Catalog) -> None:
    """Files beyond one batch are not lost."""
    names = [f"f{number:05}" for number in range(5_003)]
    files = Manifest.of(
        FileEntry(path=name, digest=Digest.of(name.encode()), size=2**40) for name in names
    )
    add(catalog, artifact(files), files)
    wanted = {Digest.of(name.encode()) for name in names}
    assert wanted < catalog.referenced_digests()
    assert next(catalog.artifacts()).size == 5_003 * 2**40


def test_many_artifacts_come_out_in_the_order_they_went_in(catalog: Catalog) -> None:
    """Paging neither repeats nor drops anything."""
    files = manifest()
    items = [artifact(files, commit=f"{number:040x}") for number in range(1_001)]
    catalog.add_artifacts([(item, files) for item in items], event=event("import"))
    assert [found.artifact for found in catalog.artifacts()] == items


def test_referenced_digests_are_records_manifests_and_files(catalog: Catalog) -> None:
    """Garbage collection keeps exactly these."""
    files = manifest("one", "two")
    item = add(catalog, artifact(files), files)
    assert catalog.referenced_digests() == {
        item.digest,
        files.digest,
        Digest.of(b"one"),
        Digest.of(b"two"),
    }


def test_removed_artifact_leaves_nothing_behind(catalog: Catalog, place: Place) -> None:
    """Model, revision, label and files go with the last artefact that needs them."""
    item = add(catalog, artifact())
    catalog.remove_artifact(item.digest, event=event("remove"))
    assert catalog.referenced_digests() == set()
    for table in ("models", "revisions", "labels", "artifacts", "files"):
        assert place.run(f"SELECT count(*) FROM {table}") == [(0,)]
    with pytest.raises(ArtifactNotFound):
        catalog.remove_artifact(item.digest, event=event("remove"))


def test_removing_one_variant_keeps_the_others(catalog: Catalog) -> None:
    """What another artefact needs stays, blobs they share included."""
    source = add(catalog, artifact())
    files = manifest("q4", "weights")
    small = add(catalog, converted(source, "Q4_K_M", files), files)
    catalog.remove_artifact(source.digest, event=event("remove"))
    assert find(catalog, "org/name@main:Q4_K_M") == small
    assert Digest.of(b"weights") in catalog.referenced_digests()


def test_installed_artifact_is_not_removed(catalog: Catalog) -> None:
    """A runtime's model does not lose its origin; after the uninstall it may go."""
    item = add(catalog, artifact())
    install = Install(
        artifact=item.digest, target="ollama", name="name:latest", location="/models", receipt=b"{}"
    )
    number = catalog.add_install(install, event=event("install")).id
    with pytest.raises(TargetConflict, match="ollama as name:latest") as caught:
        catalog.remove_artifact(item.digest, event=event("remove"))
    assert "uninstall" in caught.value.hint
    catalog.close_install(number, event=event("uninstall"))
    catalog.remove_artifact(item.digest, event=event("remove"))
    assert [found.install for found in catalog.installs(active=False)] == [install]


def test_lineage_leads_up_and_down(catalog: Catalog) -> None:
    """Parents come nearest first; children oldest first."""
    source = add(catalog, artifact())
    half_files, small_files = manifest("f16"), manifest("q4")
    half = add(catalog, converted(source, "F16", half_files), half_files)
    small = add(catalog, converted(half, "Q4_K_M", small_files), small_files)
    assert [item.artifact for item in catalog.parents(small.digest)] == [half, source]
    assert [item.artifact for item in catalog.children(source.digest)] == [half]
    assert catalog.parents(source.digest) == ()


def test_conversion_imported_without_its_parent_has_no_known_parent(catalog: Catalog) -> None:
    """A closed site may get the small variant alone; the parent may follow."""
    source = artifact()
    files = manifest("q4")
    small = add(catalog, converted(source, "Q4_K_M", files), files)
    assert catalog.parents(small.digest) == ()
    add(catalog, source)
    assert [item.artifact for item in catalog.parents(small.digest)] == [source]


def test_attack_requested_label_that_is_a_foreign_commit_is_no_label(catalog: Catalog) -> None:
    """A record that calls itself by another commit's name does not answer to it."""
    real = add(catalog, artifact(commit=COMMIT_B))
    add(catalog, artifact(requested=COMMIT_B))
    assert find(catalog, f"org/name@{COMMIT_B}") == real


@pytest.mark.parametrize("requested", ["a,b", "../x", "x\x00y", "", "x" * 300, "\x1b[2J"])
def test_attack_label_with_foreign_characters_is_left_out(catalog: Catalog, requested: str) -> None:
    """A record's text cannot break the list or the terminal; the record is kept as it is."""
    item = add(catalog, artifact(requested=requested))
    found = catalog.artifact(item.digest)
    assert found.labels == ()
    assert isinstance(found.artifact.origin, HubOrigin)
    assert found.artifact.origin.requested == requested


def test_attack_hostile_text_in_columns_is_escaped(catalog: Catalog) -> None:
    """Null characters and escapes reach neither PostgreSQL nor the terminal."""
    item = add(catalog, artifact(license_="evil\x00\x1b[2J" + "x" * 4000, quantization="q\x00"))
    row = catalog.listing()[0]
    assert row.license is not None
    assert row.license.startswith(r"evil\x00\x1b[2Jxxx")
    assert len(row.license) == 255
    assert row.quantization == r"q\x00"
    assert catalog.artifact(item.digest).artifact == item


def test_attack_altered_record_is_noticed(catalog: Catalog, place: Place) -> None:
    """A record rewritten in the database no longer matches its digest."""
    item = add(catalog, artifact())
    place.run("UPDATE artifacts SET record = replace(record, 'apache-2.0', 'mit')")
    with pytest.raises(CatalogDamaged, match=item.digest.short):
        find(catalog, "org/name")
    place.run("UPDATE artifacts SET record = 'x'")
    with pytest.raises(CatalogDamaged, match=item.digest.short):
        list(catalog.artifacts())


def test_rebuild_restores_what_the_store_holds(catalog: Catalog) -> None:
    """Order of time, labels and lineage come back whatever the order of the records."""
    files = manifest("q4")
    old, new = artifact(), artifact(commit=COMMIT_B)
    small = converted(old, "Q4_K_M", files)
    folder = artifact(model="org/folder", origin=FolderOrigin(label="x"))
    records = [
        (item, content, START + dt.timedelta(days=day))
        for day, (item, content) in enumerate(
            [(old, manifest()), (new, manifest()), (small, files), (folder, manifest())]
        )
    ]
    add(catalog, artifact(model="org/stale"))
    random.Random(7).shuffle(records)
    assert catalog.rebuild([*records, records[0]], event=event("rebuild")) == 4
    assert [found.artifact for found in catalog.artifacts()] == [old, new, small, folder]
    assert find(catalog, "org/name") == new
    assert find(catalog, "org/name@main") == new
    assert find(catalog, "org/name:Q4_K_M") == small
    assert [item.artifact for item in catalog.children(old.digest)] == [small]
    with pytest.raises(ArtifactNotFound):
        find(catalog, "org/stale")


def test_rebuild_keeps_events_installs_and_bundles(catalog: Catalog) -> None:
    """The store knows nothing of these; the database still does."""
    item = add(catalog, artifact())
    install = Install(artifact=item.digest, target="vllm", name="n", location="/srv", receipt=b"[]")
    catalog.add_install(install, event=event("install"))
    catalog.rebuild([(item, manifest(), START)], event=event("rebuild"))
    assert [found.install for found in catalog.installs()] == [install]
    assert [found.verb for found in catalog.history()] == ["pull", "install", "rebuild"]
    catalog.verify_history()


def test_rebuild_that_fails_leaves_the_catalog_as_it_was(catalog: Catalog) -> None:
    """A record that does not fit its manifest undoes the whole rebuild."""
    item = add(catalog, artifact())
    other = artifact(commit=COMMIT_B)
    with pytest.raises(MalformedRecord):
        catalog.rebuild([(other, manifest("wrong"), START)], event=event("rebuild"))
    assert find(catalog, "org/name") == item


def test_ordinals_not_clocks_decide_what_is_newest(place: Place) -> None:
    """A clock that was set back does not make the newest artefact old."""
    with place.open() as catalog:
        add(catalog, artifact())
    backwards = dataclasses.replace(place, clock=lambda: START - dt.timedelta(days=900))
    with backwards.open() as catalog:
        new = add(catalog, artifact(commit=COMMIT_B))
        assert find(catalog, "org/name") == new
