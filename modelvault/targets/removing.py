"""Taking an install back: exactly what its receipt lists, and only while it is unchanged.

Everything is checked before anything is removed, so that a changed model is left whole. A
link is told by its text and removed itself; what it leads to is another row, or not ours.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from modelvault import fsio
from modelvault.errors import BadPath, TargetChanged
from modelvault.targets.folder import held
from modelvault.targets.receipt import InstalledFile, Receipt
from modelvault.targets.runtime import Removal
from modelvault.targets.standing import is_untouched, locate


def undo_install(receipt: Receipt) -> Removal:
    """Take back an install whose files no other model shares; see ``Runtime.undo``.

    Args:
        receipt: What to take back.

    Raises:
        TargetChanged: A file is no longer what was installed; nothing was removed.
        StorageError: The file system refuses.
    """
    root = Path(receipt.location)
    if not os.path.isdir(root):
        return Removal(removed=(), kept=())
    with held(root):
        return remove_installed(receipt, needed=lambda _: False)


def remove_installed(receipt: Receipt, *, needed: Callable[[str], bool]) -> Removal:
    """Remove the files of a receipt, last first, then its folders where they are empty.

    Args:
        receipt: What to take back.
        needed: Says of a path whether another model there still needs it.

    Raises:
        TargetChanged: A file is no longer what was installed; nothing was removed.
        StorageError: The file system refuses.
    """
    root = Path(receipt.location)
    kept = tuple(file.path for file in receipt.files if needed(file.path))
    standing: list[Path] = []
    removed = []
    changed = []
    for file in receipt.files:
        if file.path in kept:
            continue
        path = _find(root, file)
        if path is None:
            changed.append(f"{root / file.path}: changed since it was installed")
        elif os.path.lexists(path):
            standing.append(path)
            removed.append(file.path)
    if changed:
        raise TargetChanged(
            f"{receipt.name} in {receipt.target} is no longer what was installed",
            hint="look at the files; remove them by hand if they are not wanted, or forget the "
            f"install and leave them: modelvault uninstall {receipt.name} --forget",
            issues=changed,
        )
    for path in reversed(standing):  # what makes the model visible was installed last
        with fsio.storage_errors(path):
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in standing}:
        if folder.is_dir():
            fsio.sync_folder(folder)
    for relative in reversed(receipt.folders):
        _remove_if_empty(root, relative)
    return Removal(removed=tuple(removed), kept=kept)


def _find(root: Path, file: InstalledFile) -> Path | None:
    """Return where an untouched or missing file stands; None for a changed one."""
    try:
        path = locate(root, file.path, link=file.link is not None)
    except BadPath:  # a folder on the way has become a symbolic link
        return None
    return None if is_untouched(file, path) is False else path


def _remove_if_empty(root: Path, relative: str) -> None:
    try:
        folder = root if relative == "." else fsio.safe_join(root, relative)
    except BadPath:  # it has become a symbolic link, or stands behind one: not ours
        return
    with fsio.storage_errors(folder), contextlib.suppress(FileNotFoundError):
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY}:
                raise
