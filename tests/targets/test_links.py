"""Links in a target: relative, inside, and never followed."""

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.digest import Digest
from modelvault.core.ports import Silence
from modelvault.errors import BadPath, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets.files import FileInstaller, check_paths, refuse_others
from modelvault.targets.links import resolve_link
from modelvault.targets.receipt import InstalledFile, Placement, Receipt
from modelvault.targets.removing import undo_install
from modelvault.targets.runtime import InstallPlan, PlannedFile
from tests.support.installable import WHEN, tree

pytestmark = pytest.mark.memory

PARTS = st.lists(st.from_regex(r"[a-z]{4,6}", fullmatch=True), min_size=1, max_size=4)


def _plan(store: Store, root: Path, *files: PlannedFile, replace: bool = False) -> InstallPlan:
    return InstallPlan(
        target="linking",
        location=root,
        name="model",
        artifact=Digest.of(b"artefact"),
        files=files,
        notes=(),
        replace=replace,
        when=WHEN,
        store=store,
    )


@given(path=PARTS, target=PARTS)
def test_link_between_two_paths_leads_where_its_text_says(
    path: list[str], target: list[str]
) -> None:
    """The shortest relative text is resolved to the path that it was made for."""
    link = os.path.relpath("/".join(target), "/".join(path[:-1]) or ".")
    if link.split("/")[-1] in (".", ".."):  # a folder around the link itself: refused
        with pytest.raises(BadPath):
            resolve_link("/".join(path), link)
    else:
        assert resolve_link("/".join(path), link) == "/".join(target)


@pytest.mark.parametrize(
    "link",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../../etc/passwd",
        "../../../up",
        "../blobs/../../../etc",
        "../blobs//x",
        "./x",
        "..\\x",
        "x\0y",
        "x\ny",
        "x" * 1025,
        "x\udcff",
    ],
)
def test_attack_link_that_leads_out_is_refused(link: str) -> None:
    """Neither a plan nor a receipt can hold a link that leaves the target or hides its way."""
    for make in (
        lambda: resolve_link("files/x", link),
        lambda: PlannedFile.link_to("files/x", link),
        lambda: InstalledFile.of_link("files/x", link, Placement.LINK),
    ):
        with pytest.raises(BadPath):
            make()


def test_link_to_what_the_plan_does_not_bring_before_it_is_refused(
    store: Store, tmp_path: Path
) -> None:
    """A link never hangs in the air, and never shows a file that nobody checked."""
    bytes_, link = PlannedFile.of("a", b"x"), PlannedFile.link_to("b", "a")
    second = PlannedFile.link_to("c", "b")
    assert _plan(store, tmp_path, bytes_, link).size == 2
    for files in ((link,), (link, bytes_), (bytes_, link, second)):
        with pytest.raises(BadPath, match="not installed"):
            _plan(store, tmp_path, *files)


def test_link_is_published_found_and_told_from_others(store: Store, tmp_path: Path) -> None:
    """A link is known by its text alone; what stands in its way is replaced only when asked for."""
    installer = FileInstaller(store=store, root=tmp_path, owner=None, progress=Silence())
    file, link = PlannedFile.of("a", b"x"), PlannedFile.link_to("links/b", "../a")
    plan = _plan(store, tmp_path, file, link)
    installer.make_folders("links")
    installer.publish(file)
    assert installer.find(link) is None
    assert installer.publish(link).placement is Placement.LINK
    found = installer.find(link)
    assert found is not None
    assert (found.placement, found.link, found.size) == (Placement.PRESENT, "../a", 4)
    check_paths(plan)
    (tmp_path / "links" / "b").unlink()
    (tmp_path / "links" / "b").symlink_to("../c")
    assert installer.find(link) is None
    with pytest.raises(TargetConflict):
        check_paths(plan)
    check_paths(dataclasses.replace(plan, replace=True))
    (tmp_path / "links" / "b").unlink()
    (tmp_path / "links" / "b").write_bytes(b"mine")
    with pytest.raises(TargetConflict):  # a user's file is no link of ours
        refuse_others(dataclasses.replace(plan, replace=True), [link])


def test_attack_blob_replaced_by_a_link_is_not_believed(store: Store, tmp_path: Path) -> None:
    """A link to the right bytes is no file that stands there: it could lead elsewhere tomorrow."""
    installer = FileInstaller(store=store, root=tmp_path, owner=None, progress=Silence())
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "a").symlink_to("real")
    with pytest.raises(BadPath):
        installer.find(PlannedFile.of("a", b"x"))
    with pytest.raises(BadPath):
        installer.publish(PlannedFile.of("a", b"x"))
    assert tree(tmp_path)["real"][3] == b"x"


def test_attack_empty_folder_behind_a_link_is_not_removed(tmp_path: Path) -> None:
    """Undo removes the folders of its receipt, not what a link in their place leads to."""
    (tmp_path / "victim" / "models").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "shelf").symlink_to(tmp_path / "victim")
    receipt = Receipt(
        target="linking",
        location=str(tmp_path / "root"),
        name="model",
        artifact=Digest.of(b""),
        files=(),
        folders=("shelf", "shelf/models"),
        installed=WHEN,
    )
    before = tree(tmp_path)
    undo_install(receipt)
    assert tree(tmp_path) == before
