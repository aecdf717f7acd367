"""The contract of ``Runtime``: every real one, one with links, and the guide's keep it."""

import ast
import errno
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from modelvault.errors import (
    BadOption,
    NoSpace,
    PermissionRefused,
    TargetChanged,
    TargetConflict,
    UnknownTarget,
    UnsuitableArtifact,
)
from modelvault.targets.receipt import Placement, Receipt
from modelvault.targets.registry import NAMES, runtime
from modelvault.targets.runtime import FileKind
from tests.contracts.runtimes import (
    ADAPTERS,
    Case,
    files_below,
    inspect,
    is_complete,
    is_visible,
    leftovers,
)
from tests.support.filesystems import mounted_stick, mounted_tmpfs, other_file_system
from tests.support.guides import python_blocks
from tests.support.installable import WHEN, tree
from tests.support.killpoints import kill_points
from tests.support.needs import require

pytestmark = pytest.mark.memory

STRANGER = (12345, 23456)

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(params=sorted(ADAPTERS))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """The adapter under test; the vault's blobs must be untouched when the test ends."""
    case = Case.of(ADAPTERS[request.param], tmp_path)
    before = tree(case.store.paths.blobs)
    yield case
    assert tree(case.store.paths.blobs) == before


def test_planning_touches_nothing(case: Case) -> None:
    """A plan says what will stand where, and leaves the target as it was."""
    before = tree(case.folder)
    plan = case.plan(case.first)
    assert tree(case.folder) == before
    assert plan.artifact == case.first[0].digest
    assert plan.files
    assert plan.size == sum(file.size for file in plan.files) > 0


def test_install_gives_a_receipt_of_what_stands_there(case: Case) -> None:
    """The receipt lists the plan's files, and survives as JSON."""
    plan = case.plan(case.first)
    receipt = case.runtime.apply(plan)
    assert is_complete(plan)
    assert [(file.path, file.digest, file.size, file.link) for file in receipt.files] == [
        (file.path, file.digest, file.size, file.link) for file in plan.files
    ]
    assert files_below(case.folder) == sorted(file.path for file in plan.files)
    assert (receipt.artifact, receipt.name) == (case.first[0].digest, plan.name)
    assert (receipt.installed, receipt.notes) == (WHEN, plan.notes)
    assert Receipt.parse(receipt.encode()) == receipt


def test_folders_are_listed_outermost_first(case: Case) -> None:
    """Every folder of the receipt comes after those around it, and undo removes all of them."""
    receipt = case.install(case.first, folder=case.folder / "new")
    assert receipt.folders[0] == "."
    assert len(set(receipt.folders)) == len(receipt.folders)
    listed = ["", *receipt.folders[1:]]
    for position, folder in enumerate(listed[1:], start=1):
        assert folder.rpartition("/")[0] in listed[:position]
    case.runtime.undo(receipt)
    assert tree(case.folder) == {}


def test_second_install_changes_nothing(case: Case) -> None:
    """Installing what stands there already is a success and no work."""
    first = case.install(case.first)
    before = tree(case.folder)
    second = case.install(case.first)
    assert tree(case.folder) == before
    assert [file.path for file in second.files] == [file.path for file in first.files]
    assert second.count(Placement.COPY) == second.count(Placement.LINK) == 0


def test_undo_restores_what_was_there(case: Case) -> None:
    """After undoing, the target is as before, for a single and a repeated install."""
    before = tree(case.folder)
    for times in (1, 2):
        for _ in range(times):
            receipt = case.install(case.first)
        removal = case.runtime.undo(receipt)
        assert set(removal.removed) == {file.path for file in receipt.files}
        assert removal.kept == ()
        assert files_below(case.folder) == []
        if times == 1:
            assert tree(case.folder) == before


def test_undoing_twice_is_harmless(case: Case) -> None:
    """What is gone already is no error."""
    receipt = case.install(case.first)
    case.runtime.undo(receipt)
    assert case.runtime.undo(receipt).removed == ()


def test_different_model_of_that_name_is_a_conflict(case: Case) -> None:
    """A model is not overwritten unless that is asked for."""
    late = case.plan(case.second)
    case.install(case.first)
    before = tree(case.folder)
    with pytest.raises(TargetConflict):  # at the latest when it is applied
        case.install(case.second)
    with pytest.raises(TargetConflict):
        case.runtime.apply(late)
    assert tree(case.folder) == before


def test_replacing_is_possible_when_asked_for(case: Case) -> None:
    """With ``replace`` the second model stands there, and nothing of the first one."""
    case.install(case.first)
    plan = case.plan(case.second, replace=True)
    receipt = case.runtime.apply(plan)
    assert receipt.artifact == case.second[0].digest
    assert files_below(case.folder) == sorted(file.path for file in plan.files)
    assert case.install(case.second).count(Placement.COPY) == 0
    case.runtime.undo(receipt)
    assert files_below(case.folder) == []


def test_changed_file_is_not_removed(case: Case) -> None:
    """Undo removes nothing once a file is no longer what was installed."""
    receipt = case.install(case.first)
    case.tamper(receipt)
    before = tree(case.folder)
    with pytest.raises(TargetChanged):
        case.runtime.undo(receipt)
    assert tree(case.folder) == before


def test_in_place_is_decided_by_content(case: Case) -> None:
    """A file of the right size and other bytes is changed; one that is gone is missing."""
    receipt = case.install(case.first)
    for read in (False, True):
        found = inspect(receipt, read=read)
        assert (found.missing, found.changed, found.unread) == ((), (), ())
    path = case.tamper(receipt)
    assert inspect(receipt, read=True).changed == (path,)
    assert path in inspect(receipt, read=False).changed + inspect(receipt, read=False).unread
    (case.folder / path).unlink()
    assert inspect(receipt, read=False).missing == (path,)


def test_attack_link_over_an_installed_file_is_not_followed(case: Case, tmp_path: Path) -> None:
    """A link to the very same bytes elsewhere is a change: not removed, not written through."""
    receipt = case.install(case.first)
    path = [file.path for file in receipt.files if file.link is None][-1]
    victim = tmp_path / "victim"
    (case.folder / path).rename(victim)
    (case.folder / path).symlink_to(victim)
    before = tree(tmp_path)
    assert inspect(receipt, read=True).changed == (path,)
    with pytest.raises(TargetChanged):
        case.runtime.undo(receipt)
    assert tree(tmp_path) == before


def test_attack_folder_turned_into_a_link_is_not_followed(case: Case, tmp_path: Path) -> None:
    """Undo does not leave the target through a folder that has become a link."""
    receipt = case.install(case.first, folder=case.folder / "root")
    (case.folder / "root").rename(tmp_path / "victim")
    top = receipt.files[0].path.split("/")[0]
    (case.folder / "root").mkdir()
    (case.folder / "root" / top).symlink_to(tmp_path / "victim" / top)
    before = tree(tmp_path)
    with pytest.raises(TargetChanged):
        case.runtime.undo(receipt)
    assert tree(tmp_path) == before


def test_unsuitable_artifact_is_refused_with_a_way_out(case: Case) -> None:
    """The wrong format is refused before anything is touched."""
    before = tree(case.folder)
    with pytest.raises(UnsuitableArtifact) as caught:
        case.plan(case.unsuitable)
    assert tree(case.folder) == before
    assert "modelvault" in caught.value.hint


@pytest.mark.parametrize("name", ["", "../up", "a/../../b", "/etc/passwd", "a\0b", ".hidden", "-x"])
def test_attack_name_that_leaves_the_folder_is_refused(case: Case, name: str) -> None:
    """No name leads out of the target's folder, or looks like an option."""
    with pytest.raises(BadOption):
        case.plan(case.first, name=name)


def test_mistyped_folder_is_not_created(case: Case) -> None:
    """A folder whose parent is missing, too, is a slip of the pen, or a disk not mounted."""
    before = tree(case.folder)
    for folder in (case.folder / "nowhere" / "models", case.folder / "a" / "b" / "c"):
        with pytest.raises(BadOption, match="neither it nor the folder above it") as caught:
            case.plan(case.first, folder=folder)
        assert str(folder) in caught.value.hint
    assert tree(case.folder) == before
    case.runtime.undo(case.install(case.first, folder=case.folder / "new"))


# --- crashes ---------------------------------------------------------------------------


def test_killed_install_is_mended_by_the_next(case: Case) -> None:
    """Killed at any step: the model is whole or invisible, and running again completes it."""
    plan = case.plan(case.first)
    for _ in kill_points(partial(case.install, case.first)):
        assert is_complete(plan) or not is_visible(plan)
        receipt = case.install(case.first)
        assert is_complete(plan)
        assert leftovers(case.folder) == []
        case.runtime.undo(receipt)
        assert files_below(case.folder) == []


def test_killed_replacement_leaves_one_model_or_none(case: Case) -> None:
    """Killed at any step: what is visible is the old or the new model, never a mixture."""
    old, new = case.plan(case.first), case.plan(case.second)
    case.install(case.first)
    for _ in kill_points(partial(case.install, case.second, replace=True)):
        assert is_complete(old) or is_complete(new) or not is_visible(new)
        receipt = case.install(case.second, replace=True)
        assert is_complete(new)
        assert leftovers(case.folder) == []
        case.runtime.undo(receipt)
        case.install(case.first)


def test_killed_undo_is_completed_by_the_next(case: Case) -> None:
    """Killed at any step: the model is whole or invisible, and undoing again ends it."""
    plan = case.plan(case.first)
    receipt = case.install(case.first)
    for _ in kill_points(partial(case.runtime.undo, receipt)):
        assert is_complete(plan) or not is_visible(plan)
        case.runtime.undo(receipt)
        assert tree(case.folder) == {}
        case.install(case.first)


# --- other disks, other owners ---------------------------------------------------------


def test_other_file_system_gets_copies(
    case: Case, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Across file systems bytes are copied and hashed, and a second install recognises them."""
    with other_file_system(tmp_path, tmp_path_factory.getbasetemp()) as folder:
        plan = case.plan(case.first, folder=folder)
        receipt = case.runtime.apply(plan)
        assert is_complete(plan)
        links = sum(file.kind is FileKind.LINK for file in plan.files)
        assert receipt.count(Placement.COPY) == len(plan.files) - links
        for file in receipt.files:
            state = (folder / file.path).lstat()
            assert stat.S_ISLNK(state.st_mode) or stat.S_IMODE(state.st_mode) == 0o644
        again = case.install(case.first, folder=folder)
        assert again.count(Placement.PRESENT) == len(plan.files)
        case.runtime.undo(again)
        assert files_below(folder) == []


def test_stick_gets_copies_or_a_clear_refusal(case: Case, tmp_path: Path) -> None:
    """A real medium, without links, modes and owners where it is FAT, takes the whole model."""
    with mounted_stick(tmp_path / "stick") as folder:
        _check_whole_or_refused(case, folder)


def test_disk_without_links_and_modes_gets_copies_or_a_clear_refusal(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT's answers, imitated: what needs no symbolic link is installed whole."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    for name in ("link", "symlink", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    _check_whole_or_refused(case, case.folder)


def _check_whole_or_refused(case: Case, folder: Path) -> None:
    plan = case.plan(case.first, folder=folder)
    try:
        receipt = case.runtime.apply(plan)
    except PermissionRefused:
        assert any(file.kind is FileKind.LINK for file in plan.files)
        assert not is_visible(plan)
        return
    assert is_complete(plan)
    assert receipt.count(Placement.HARDLINK) == 0
    case.runtime.undo(receipt)
    assert files_below(folder) == []


def test_full_disk_is_told_and_shows_no_model(case: Case, tmp_path: Path) -> None:
    """A file system that is really full: nothing is visible, and with room it is mended."""
    with mounted_tmpfs(tmp_path / "small", size=4096) as folder:
        plan = case.plan(case.first, folder=folder)
        (folder / "filler").write_bytes(b"x" * 4096)
        with pytest.raises(NoSpace):
            case.runtime.apply(plan)
        assert not is_visible(plan)


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_new_files_belong_to_the_folders_owner(case: Case, tmp_path: Path, far: bool) -> None:
    """Installed by root, the model is the runtime's; the vault's own files stay the vault's."""
    if os.geteuid() != 0:
        require("root, which alone can give files away")
    with mounted_tmpfs(tmp_path / "far") as other:
        folder = other if far else case.folder
        os.chown(folder, *STRANGER)
        receipt = case.install(case.first, folder=folder)
        for file in receipt.files:
            state = (folder / file.path).lstat()
            ours = file.placement is Placement.HARDLINK
            assert (state.st_uid, state.st_gid) == ((0, 0) if ours else STRANGER)
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                state = path.stat()
                assert (state.st_uid, state.st_gid) == STRANGER
                assert stat.S_IMODE(state.st_mode) == 0o755


# --- links -----------------------------------------------------------------------------


@pytest.fixture
def linking(tmp_path: Path) -> Iterator[Case]:
    """The adapter that installs links; the vault's blobs must be untouched at the end."""
    case = Case.of(ADAPTERS["linking"], tmp_path)
    before = tree(case.store.paths.blobs)
    yield case
    assert tree(case.store.paths.blobs) == before


def test_links_lead_to_the_vaults_bytes_and_do_not_touch_them(linking: Case) -> None:
    """Through a link a server reads the vault's own file, which keeps its mode and owner."""
    os.chown(linking.folder, *STRANGER) if os.geteuid() == 0 else None
    receipt = linking.install(linking.first)
    links = [file for file in receipt.files if file.link is not None]
    assert len(links) == len(linking.first[1].files)
    for entry, file in zip(linking.first[1].files, links, strict=True):
        path = linking.folder / file.path
        assert path.resolve().is_relative_to(linking.folder)
        assert path.samefile(linking.store.path(entry.digest))
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        assert file.placement is Placement.LINK


def test_moved_folder_keeps_working_links(linking: Case) -> None:
    """Links are relative: a server may see the folder under another path."""
    plan = linking.plan(linking.first)
    receipt = linking.runtime.apply(plan)
    moved = linking.folder.rename(linking.folder.with_name("moved"))
    for file in receipt.files:
        if file.link is not None:
            assert (moved / file.path).resolve(strict=True).is_relative_to(moved)


def test_link_that_was_turned_elsewhere_is_a_change(linking: Case) -> None:
    """A link is judged by its text, even where it leads to equal bytes; it is mended on demand."""
    receipt = linking.install(linking.first)
    link = next(file for file in receipt.files if file.link is not None)
    path = linking.folder / link.path
    target = path.resolve()
    path.unlink()
    path.symlink_to(target)
    assert inspect(receipt, read=False).changed == (link.path,)
    with pytest.raises(TargetChanged):
        linking.runtime.undo(receipt)
    with pytest.raises(TargetConflict):
        linking.install(linking.first)
    linking.install(linking.first, replace=True)
    assert inspect(receipt, read=False).changed == ()


# --- every runtime ---------------------------------------------------------------------


def test_registry_knows_every_runtime_and_no_other() -> None:
    """``--to`` accepts the names in the registry; others are answered with that list."""
    assert NAMES == ("llamacpp", "ollama", "vllm")
    assert set(NAMES) <= set(ADAPTERS)
    for name in NAMES:
        assert type(runtime(name)) is type(ADAPTERS[name].make())
    with pytest.raises(UnknownTarget) as caught:
        runtime("tgi")
    assert "llamacpp, ollama, vllm" in caught.value.hint


def test_apply_in_the_guide_takes_25_lines_at_most() -> None:
    """A newcomer sees the whole of it at once."""
    (code,) = python_blocks("add-a-runtime.md")
    (apply,) = (
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef) and node.name == "apply"
    )
    assert apply.end_lineno is not None
    assert apply.end_lineno - apply.lineno + 1 <= 25
