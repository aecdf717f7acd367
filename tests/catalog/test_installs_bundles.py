"""Installs with their receipts, and the bundles that came and went."""

import dataclasses
import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.catalog.catalog import Catalog
from modelvault.catalog.installs import _encode_receipt
from modelvault.catalog.values import Bundle, Direction, Install, RecordedInstall
from modelvault.core import canonical
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.errors import (
    ArtifactNotFound,
    InstallNotFound,
    MalformedRecord,
    TargetConflict,
)
from tests.catalog.place import (
    COMMIT_B,
    START,
    Clock,
    Place,
    add,
    artifact,
    event,
    manifest,
)

RECEIPT = canonical.encode({"files": [{"path": "a/b", "placed": "hardlink", "size": 2**40}]})


def install_of(item: Artifact, name: str = "name:latest") -> Install:
    """Return an install of an artefact."""
    return Install(
        artifact=item.digest, target="ollama", name=name, location="/models", receipt=RECEIPT
    )


def bundle(
    serial: int, *, direction: Direction = Direction.IMPORTED, by: str = "SHA256:k"
) -> Bundle:
    """Return a bundle."""
    return Bundle(
        index=Digest.of(str(serial).encode()),
        direction=direction,
        serial=serial,
        publisher=by,
        layout="volumes",
        location="DISK_1",
        artifacts=(artifact().digest,),
    )


def test_install_comes_back_with_its_receipt(catalog: Catalog) -> None:
    """What an uninstall needs is kept as it was given."""
    install = install_of(add(catalog, artifact()))
    recorded = catalog.add_install(install, event=event("install"))
    assert catalog.installs() == (recorded,)
    assert recorded.install == install
    assert recorded.install.receipt == RECEIPT
    assert recorded.removed_at is None


def test_closed_install_is_history(catalog: Catalog) -> None:
    """An uninstall takes an install out of the active ones, once."""
    number = catalog.add_install(install_of(add(catalog, artifact())), event=event("install")).id
    closed = catalog.close_install(number, event=event("uninstall"))
    assert closed.removed_at is not None
    assert catalog.installs() == ()
    assert catalog.installs(active=False) == (closed,)
    for missing in (number, number + 1):
        with pytest.raises(InstallNotFound, match=f"install {missing} "):
            catalog.close_install(missing, event=event("uninstall"))
    assert [item.verb for item in catalog.history()] == ["pull", "install", "uninstall"]


def test_install_over_another_is_refused_unless_it_replaces_it(catalog: Catalog) -> None:
    """One name in one runtime stands for one artefact; an upgrade is one transaction."""
    old = catalog.add_install(install_of(add(catalog, artifact())), event=event("install"))
    newer = install_of(add(catalog, artifact(commit=COMMIT_B)))
    with pytest.raises(TargetConflict, match="name:latest"):
        catalog.add_install(newer, event=event("install"))
    new = catalog.add_install(newer, event=event("install"), replaces=old.id)
    assert catalog.installs() == (new,)
    assert len(catalog.installs(active=False)) == 2
    with pytest.raises(InstallNotFound):
        catalog.add_install(newer, event=event("install"), replaces=old.id)
    assert catalog.installs() == (new,)


def test_installs_of_one_artifact_are_found(catalog: Catalog) -> None:
    """Other artefacts' installs stay out."""
    first, second = add(catalog, artifact()), add(catalog, artifact(commit=COMMIT_B))
    catalog.add_install(install_of(first), event=event("install"))
    wanted = catalog.add_install(install_of(second, "other"), event=event("install"))
    assert catalog.installs(artifact=second.digest) == (wanted,)


def test_install_of_an_unknown_artifact_is_refused(catalog: Catalog) -> None:
    """The catalogue vouches for what it lists as installed."""
    with pytest.raises(ArtifactNotFound):
        catalog.add_install(install_of(artifact()), event=event("install"))


@pytest.mark.parametrize(
    "change",
    [
        {"receipt": b"0.5"},
        {"receipt": b"{"},
        {"receipt": b'{"a": 1}'},
        {"receipt": b'"\xed\xb3\xbf"'},
        {"name": "a\x00b"},
        {"location": "/srv/\udcff"},
    ],
)
def test_install_that_cannot_be_kept_is_refused(catalog: Catalog, change: dict[str, Any]) -> None:
    """Only canonical JSON, without floats, lone surrogates and null characters, is kept."""
    item = add(catalog, artifact())
    install = dataclasses.replace(install_of(item), **change)
    with pytest.raises(MalformedRecord):
        catalog.add_install(install, event=event("install"))
    assert catalog.installs() == ()


def test_altered_receipt_hides_no_other_install(catalog: Catalog, place: Place) -> None:
    """Receipts are returned as they stand; whoever reads one finds out, of that one alone."""
    item = add(catalog, artifact())
    catalog.add_install(install_of(item), event=event("install"))
    catalog.add_install(install_of(item, "other"), event=event("install"))
    place.run("UPDATE installs SET receipt = '{' WHERE id = 1")
    assert [found.install.receipt for found in catalog.installs()] == [b"{", RECEIPT]
    closed = catalog.close_install(1, event=event("uninstall"))
    assert closed.install.receipt == b"{"


@given(
    receipt=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_any_json_receipt_survives(receipt: canonical.Json) -> None:
    """Receipts of any shape, of releases to come, are stored byte for byte."""
    data = canonical.encode(receipt)
    install = Install(artifact=Digest.of(b""), target="t", name="n", location="/", receipt=data)
    text = _encode_receipt(install)
    assert "\x00" not in text
    assert text.encode() == data


def test_bundle_comes_back_as_it_was_recorded(catalog: Catalog) -> None:
    """Both directions, in order, with what was in them."""
    first = bundle(1, direction=Direction.EXPORTED)
    second = dataclasses.replace(bundle(2), artifacts=())
    for item in (first, second):
        catalog.record_bundle(item, event=event("export", str(item.index)))
    assert [item.bundle for item in catalog.bundles()] == [first, second]
    assert catalog.bundles()[0].created_at == START


def test_last_serial_is_the_publishers_highest(catalog: Catalog) -> None:
    """Order of arrival, other publishers and the other direction do not count."""
    assert catalog.last_serial("SHA256:k") == 0
    for item in (bundle(9), bundle(3), bundle(50, by="SHA256:other")):
        catalog.record_bundle(item, event=event("import"))
    catalog.record_bundle(bundle(12, direction=Direction.EXPORTED), event=event("export"))
    assert catalog.last_serial("SHA256:k") == 12
    assert catalog.last_serial("SHA256:k", direction=Direction.IMPORTED) == 9
    assert catalog.last_serial("SHA256:k", direction=Direction.EXPORTED) == 12


def test_import_records_artifacts_and_bundle_together(catalog: Catalog) -> None:
    """An import is one transaction: the bundle is there when its artefacts are."""
    catalog.add_artifacts([(artifact(), manifest())], event=event("import"), bundle=bundle(4))
    assert catalog.last_serial("SHA256:k") == 4
    with pytest.raises(MalformedRecord):
        catalog.add_artifacts(
            [(artifact(commit=COMMIT_B), manifest("wrong"))], event=event("import"),
            bundle=bundle(5),
        )  # fmt: skip
    assert catalog.last_serial("SHA256:k") == 4


def test_largest_serial_is_kept(catalog: Catalog) -> None:
    """Serials use all of a signed 64-bit integer."""
    catalog.record_bundle(bundle(2**63 - 1), event=event("import"))
    assert catalog.last_serial("SHA256:k") == 2**63 - 1


def test_times_are_in_utc(place: Place) -> None:
    """A clock in another zone tells the same moment."""
    seoul = dt.timezone(dt.timedelta(hours=9))
    clock = Clock(now=START.astimezone(seoul))
    with dataclasses.replace(place, clock=clock).open() as catalog:
        item = add(catalog, artifact())
        recorded: RecordedInstall = catalog.add_install(install_of(item), event=event("install"))
        assert catalog.artifact(item.digest).created_at == START
        assert recorded.installed_at.astimezone(dt.UTC) == START + dt.timedelta(seconds=1)
    assert place.run("SELECT created_at FROM artifacts") == [("2030-01-02T03:04:05.678901Z",)]
