"""Artefacts of a newer release in the catalogue: named, kept, and in nobody's way."""

import datetime as dt

import pytest

from modelvault.catalog.catalog import Catalog
from modelvault.errors import CatalogDamaged, UnsupportedVersion
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
from tests.support.future import newer_artifact


def test_newer_record_does_not_hide_the_others(catalog: Catalog) -> None:
    """All others are read as ever; it stands in the list, and is named when asked for."""
    old = add(catalog, artifact())
    newer = newer_artifact(artifact(model="org/later"))
    add(catalog, newer)
    last = add(catalog, artifact(model="org/last"))
    assert [item.artifact for item in catalog.artifacts()] == [old, last]
    (unsupported,) = catalog.unsupported()
    assert (unsupported.digest, unsupported.label) == (newer.digest, str(newer.reference))
    assert "of version 2" in unsupported.reason
    assert str(newer.digest) in {row.digest for row in catalog.listing()}
    for ask in (
        lambda: find(catalog, "org/later"),
        lambda: catalog.artifact(newer.digest),
    ):
        with pytest.raises(UnsupportedVersion) as caught:
            ask()
        assert "update ModelVault" in caught.value.hint
    assert newer.digest in catalog.referenced_digests()


def test_newer_conversion_does_not_hide_its_parent_or_siblings(catalog: Catalog) -> None:
    """Lineage shows what can be read."""
    parent = add(catalog, artifact())
    files = manifest("q4")
    child = add(catalog, converted(parent, "Q4_K_M", files), files)
    add(catalog, newer_artifact(converted(parent, "Q8_0", files)), files)
    assert [item.artifact for item in catalog.children(parent.digest)] == [child]


def test_pages_of_newer_records_end(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that holds nothing readable is not the last one."""
    monkeypatch.setattr("modelvault.catalog.records._PAGE", 2)
    for number in range(5):
        add(catalog, newer_artifact(artifact(model=f"org/later-{number}")))
    last = add(catalog, artifact())
    assert [item.artifact for item in catalog.artifacts()] == [last]
    assert len(catalog.unsupported()) == 5


def test_rebuild_keeps_what_only_a_newer_release_restores(catalog: Catalog) -> None:
    """Its row stays if its record does; order and labels of the others are as ever."""
    newer = newer_artifact(artifact(commit=COMMIT_B))
    gone = newer_artifact(artifact(model="org/gone"))
    first = add(catalog, artifact())
    add(catalog, newer)
    add(catalog, gone)
    add(catalog, artifact(model="org/stale"))
    restored = [(first, manifest(), START + dt.timedelta(days=-1))]
    assert catalog.rebuild(restored, event=event("rebuild"), keep=frozenset({newer.digest})) == 1
    assert [item.digest for item in catalog.unsupported()] == [newer.digest]
    assert {row.digest for row in catalog.listing()} == {str(first.digest), str(newer.digest)}
    assert find(catalog, f"org/name@{first.revision}") == first
    assert newer.digest in catalog.referenced_digests()
    other = add(catalog, artifact(model="org/other"))
    assert [item.artifact for item in catalog.artifacts()] == [first, other]


def test_altered_record_of_a_newer_version_is_damage(lite: Place) -> None:
    """A version that nobody knows excuses no digest that does not fit."""
    with lite.open() as catalog:
        add(catalog, newer_artifact(artifact()))
    lite.run("UPDATE artifacts SET record = replace(record, 'zeta', 'beta')")
    with lite.open() as catalog:
        with pytest.raises(CatalogDamaged):
            list(catalog.artifacts())
        with pytest.raises(CatalogDamaged):
            catalog.unsupported()
