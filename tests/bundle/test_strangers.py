"""What others put beside our files is theirs: kept, said, and never the end of an export."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from modelvault.bundle.format import names
from modelvault.bundle.read.check import check_bundle
from tests.support.bundles import Site, add_model, make_site
from tests.support.killpoints import kill_points

SMALL = {"config.json": b'{"a":1}', "model.safetensors": b"weights"}
STRANGERS = {"Thumbs.db": b"pictures", "notes.txt": b"mine"}


@pytest.fixture
def standing(tmp_path: Path) -> Site:
    """Return a site whose medium holds a bundle, with files of others beside it."""
    site = make_site(tmp_path / "site", SMALL)
    site.export()
    add_strangers(site)
    return site


def add_strangers(site: Site) -> None:
    """Put files and a folder of others into the bundle's folder."""
    for name, data in STRANGERS.items():
        (site.bundle / name).write_bytes(data)
    (site.bundle / ".Trashes").mkdir(exist_ok=True)
    (site.bundle / ".Trashes" / "old.doc").write_bytes(b"rubbish")


def with_other_model(site: Site) -> Site:
    """Return the site with another model to export."""
    other = add_model(site.store, "org/other", {"config.json": b"{}"})
    return dataclasses.replace(site, artifacts=(other,))


def assert_strangers_stand(site: Site) -> None:
    """Assert that nothing of others has moved or changed."""
    assert {name: (site.bundle / name).read_bytes() for name in STRANGERS} == STRANGERS
    assert (site.bundle / ".Trashes" / "old.doc").read_bytes() == b"rubbish"


def test_replaced_bundle_leaves_files_of_others_where_they_are(standing: Site) -> None:
    """The new bundle is whole, theirs stand beside it as before, and the user is told."""
    new = with_other_model(standing)
    written = new.export(replace=True, serial=2)
    assert_strangers_stand(new)
    assert [path.name for path in new.medium.iterdir()] == [names.FOLDER]
    assert [line.split(":")[0] for line in written.left] == [
        str(new.bundle / name) for name in (".Trashes", "Thumbs.db", "notes.txt")
    ]
    assert check_bundle(new.verified()).cargo.artifacts[0][0] == new.artifacts[0]
    again = new.export(serial=3)
    assert again.unchanged
    assert not again.left


def test_replacement_killed_anywhere_keeps_files_of_others(standing: Site) -> None:
    """One whole bundle and all of theirs, after the next run at the latest."""
    new = with_other_model(standing)
    kills = 0
    for _ in kill_points(lambda: new.export(replace=True)):
        kills += 1
        new.export(replace=True)
        assert_strangers_stand(new)
        assert [path.name for path in new.medium.iterdir()] == [names.FOLDER]
        check_bundle(new.verified())
        shutil.rmtree(standing.bundle)
        standing.export()
        add_strangers(standing)
    assert kills > 8
    assert_strangers_stand(new)


def test_leftover_of_a_former_release_stops_no_export(standing: Site) -> None:
    """A replaced bundle that was never cleared away: it is now, theirs are kept."""
    former = standing.medium / names.FORMER_FOLDER
    shutil.copytree(standing.bundle, former)
    (former / "more.txt").write_bytes(b"more")
    for name in STRANGERS:
        (standing.bundle / name).unlink()
    shutil.rmtree(standing.bundle / ".Trashes")
    assert standing.export().unchanged
    assert_strangers_stand(standing)
    assert (standing.bundle / "more.txt").read_bytes() == b"more"
    assert not former.exists()


def test_former_bundle_that_cannot_be_cleared_is_said_not_fatal(
    standing: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one is published: an error would deny it. The next export clears up."""
    new = with_other_model(standing)
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(os, "rename", refuse)
    (line,) = new.export(replace=True).left
    assert "not cleared away yet" in line
    assert check_bundle(new.verified()).cargo.artifacts[0][0] == new.artifacts[0]
    monkeypatch.setattr(os, "rename", rename)
    new.export()
    assert_strangers_stand(new)
    assert [path.name for path in new.medium.iterdir()] == [names.FOLDER]
