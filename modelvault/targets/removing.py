"""Taking an install back: exactly what its receipt lists, and only while it is unchanged.

Everything is checked before anything is removed, so that a changed model is left whole.
"""

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

from modelvault import fsio
from modelvault.errors import BadPath, TargetChanged
from modelvault.targets.placing import is_untouched
from modelvault.targets.receipt import InstalledFile, Receipt
from modelvault.targets.runtime import Removal


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
    standing = []
    changed = []
    for file in receipt.files:
        if file.path in kept:
            continue
        untouched = _standing(root, file)
        if untouched:
            standing.append(file.path)
        elif untouched is False:
            changed.append(f"{root / file.path}: changed since it was installed")
    if changed:
        raise TargetChanged(
            f"{receipt.name} in {receipt.target} is no longer what was installed",
            hint="look at the files; remove them by hand if they are not wanted",
            issues=changed,
        )
    for path in reversed(standing):  # what makes the model visible was placed last
        _unlink(root / path)
    for folder in {(root / path).parent for path in standing}:
        if folder.is_dir():
            fsio.sync_folder(folder)
    for relative in reversed(receipt.folders):
        _remove_if_empty(root / relative)
    return Removal(removed=tuple(standing), kept=kept)


def _standing(root: Path, file: InstalledFile) -> bool | None:
    try:
        path = fsio.safe_join(root, file.path)
    except BadPath:  # a folder on the way has become a symbolic link
        return False
    return is_untouched(file, path)


def _unlink(path: Path) -> None:
    with fsio.storage_errors(path):
        path.unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with fsio.storage_errors(folder), contextlib.suppress(FileNotFoundError):
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY}:
                raise
