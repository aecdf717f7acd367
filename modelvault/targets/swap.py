"""Installing a model that is one folder, or one file: it is staged and swapped in.

Everything is staged beside its final name and renamed: a server never sees half of a model,
however the install ends. Replacing a folder takes two renames, the old one out and the new
one in; a crash between them is mended by the next install, which puts the old one back first.

A signature over the model stands in its folder, or beside a model that is one file. A model that
stands without one gets it in place: nothing else of it is touched.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelvault import fsio
from modelvault.core.ports import Progress
from modelvault.errors import TargetConflict
from modelvault.targets.files import FileInstaller, open_target, refuse_others
from modelvault.targets.folder import clear_leftovers, refuse_missing, staged, target_errors
from modelvault.targets.receipt import InstalledFile, Receipt
from modelvault.targets.runtime import InstallPlan, PlannedFile


def check_entry(plan: InstallPlan, entry: str) -> None:
    """Refuse, while planning, an entry under which another model stands.

    Nothing is hashed: what looks like the model itself, by names and sizes, passes, signed or not.

    Args:
        plan: The install.
        entry: The folder or file that the model is, relative to the plan's location.

    Raises:
        BadOption: The location is not there, nor the folder above it.
        TargetConflict: As said.
        StorageError: The file system refuses.
    """
    refuse_missing(plan.location)
    with target_errors(plan.location):
        _refuse_conflict(plan, entry, besides={file.path: file.size for file in plan.files})


def install_entry(plan: InstallPlan, entry: str, *, progress: Progress | None) -> Receipt:
    """Carry out a plan whose files all stand at or below one entry, in one step.

    Args:
        plan: The install.
        entry: The folder or file that the model is, relative to the plan's location. Only
            the plan's files stand in it, so that a signature over the folder holds. That of a
            model that is one file stands beside it.
        progress: Told about copied and hashed bytes.

    Raises:
        TargetConflict: Something else stands under this name, or something was added to it.
        TargetChanged: Another process changes the target at the same time.
        Corruption: A blob of the store is not what it should be.
        StorageError: The target's disk is full or refuses.
        VaultBusy: Another install into this folder, or gc, is at work.
    """
    path = plan.location / entry
    with open_target(plan, progress) as installer:
        installer.make_folders(entry.rpartition("/")[0])
        _recover(path)
        clear_leftovers(path.parent)
        found = _find_all(plan, entry, installer)
        if found is None:
            _refuse_conflict(plan, entry, besides={})
            installer.require_space(plan.files, path.parent)
            beside = [file for file in plan.files if not _is_inside(file.path, entry)]
            found = {file.path: _bring(plan, file, installer) for file in beside}
            inside = [file for file in plan.files if file.path not in found]
            found |= _stage(plan, inside, entry, installer)
            _swap_in(path)
    files = [found[file.path] for file in plan.files]
    return plan.receipt(files, [*installer.made, *_folders(plan, entry)])


def _is_inside(path: str, entry: str) -> bool:
    return path == entry or path.startswith(f"{entry}/")


def _bring(plan: InstallPlan, file: PlannedFile, installer: FileInstaller) -> InstalledFile:
    """Return a file that stands at its final path, brought there alone where it did not.

    Raises:
        TargetConflict: Something else stands there, and the plan does not replace.
    """
    if found := installer.find(file):
        return found
    refuse_others(plan, [file])
    return installer.publish(file)


def _stage(
    plan: InstallPlan, files: Sequence[PlannedFile], entry: str, installer: FileInstaller
) -> dict[str, InstalledFile]:
    stage = staged(plan.location / entry)
    folders = [
        stage / folder.removeprefix(entry).lstrip("/") if folder != entry else stage
        for folder in _folders(plan, entry)
    ]
    for folder in folders:
        installer.make_folder(folder)
    found = {}
    for file in files:
        below = file.path.removeprefix(entry).lstrip("/")
        found[file.path] = installer.install(file, stage / below if below else stage)
    for folder in reversed(folders):
        fsio.sync_folder(folder)
    return found


def _swap_in(path: Path) -> None:
    stage, old = staged(path), staged(path, "old")
    with fsio.storage_errors(path):
        if path.is_dir():  # allowed: the plan replaces, or the folder is empty
            os.rename(path, old)
        os.replace(stage, path)
    fsio.sync_folder(path.parent)
    if old.exists():
        with fsio.storage_errors(old):
            shutil.rmtree(old)


def _recover(path: Path) -> None:
    """Put a model back that a crash has left between the two renames of a replacement."""
    old = staged(path, "old")
    if old.is_dir() and not os.path.lexists(path):
        os.rename(old, path)
        fsio.sync_folder(path.parent)


def _find_all(
    plan: InstallPlan, entry: str, installer: FileInstaller
) -> dict[str, InstalledFile] | None:
    """Return the installed files by path when exactly they stand there; None otherwise.

    Where the signature alone is missing it is brought.
    """
    files = [file for file in plan.files if file.path != plan.signature_path]
    if _standing(plan, entry).keys() - {plan.signature_path} != {file.path for file in files}:
        return None
    found = {}
    for file in files:
        item = installer.find(file)
        if item is None:
            return None
        found[file.path] = item
    for file in plan.files:
        if file.path == plan.signature_path:
            found[file.path] = _bring(plan, file, installer)
    return found


def _refuse_conflict(plan: InstallPlan, entry: str, *, besides: Mapping[str, int]) -> None:
    """Refuse an entry under which something else stands than ``besides``, by path and size.

    Raises:
        TargetConflict: As said.
    """
    path = plan.location / entry
    if os.path.lexists(path):
        wanted = path.is_dir() if _folders(plan, entry) else fsio.is_regular(path)
        if path.is_symlink() or not wanted:
            raise TargetConflict(
                f"{path}: neither a model nor free", hint="choose another name with --as"
            )
    standing = _standing(plan, entry)
    if besides:  # the model itself may be signed, or not yet
        standing = {
            item: size for item, size in standing.items() if item != plan.signature_path
        } or standing
    if standing and standing != besides and not plan.replace:
        raise TargetConflict(
            f"{path}: another model stands here",
            hint="choose another name with --as, or uninstall what is there first",
        )


def _standing(plan: InstallPlan, entry: str) -> dict[str, int]:
    """Return what stands at or below the entry: path and size of everything but folders."""
    path = plan.location / entry
    if fsio.is_regular(path):
        return {entry: path.lstat().st_size}
    if not path.is_dir() or path.is_symlink():
        return {}
    return {
        item.relative_to(plan.location).as_posix(): item.lstat().st_size
        for item in path.rglob("*")
        if not item.is_dir() or item.is_symlink()
    }


def _folders(plan: InstallPlan, entry: str) -> list[str]:
    """Return the model's own folders, outermost first; none for a model that is one file."""
    depth = entry.count("/") + 1
    found = set()
    for file in plan.files:
        parts = file.path.split("/")
        found |= {"/".join(parts[:length]) for length in range(depth, len(parts))}
    return sorted(found)
