"""Whether an install still stands, as its receipt says."""

from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.core.ports import Progress
from modelvault.errors import BadPath
from modelvault.targets.files import is_same_inode, is_untouched, locate
from modelvault.targets.receipt import InstalledFile, Receipt

SMALL = 1024 * 1024
"""Files up to this many bytes are always read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands of an install; nothing in any list means all of it, byte for byte."""

    missing: tuple[str, ...]
    """Paths of files that are gone."""
    changed: tuple[str, ...]
    """Paths of files that are no longer what was installed."""
    unread: tuple[str, ...]
    """Paths of files that have the right size and were not read."""


def inspect_install(receipt: Receipt, *, read: bool, progress: Progress) -> Standing:
    """Compare what stands in a target with a receipt. No link is followed.

    A hardlink is known by its inode and a link by its text; small files are read.

    Args:
        receipt: What was installed.
        read: Read every file, hardlinks too, instead of going by the size of large ones.
        progress: Told about hashed bytes, under the files' names.

    Raises:
        StorageError: A file cannot be read.
    """
    found: dict[str, list[str]] = {"missing": [], "changed": [], "unread": []}
    for file in receipt.files:
        with fsio.storage_errors(Path(receipt.location) / file.path):
            word = _judge(Path(receipt.location), file, read=read, progress=progress)
        if word:
            found[word].append(file.path)
    return Standing(**{word: tuple(paths) for word, paths in found.items()})


def _judge(root: Path, file: InstalledFile, *, read: bool, progress: Progress) -> str:
    try:
        path = locate(root, file.path, link=file.link is not None)
    except BadPath:  # a folder on the way has become a symbolic link
        return "changed"
    if not read and _is_unread(file, path):
        return "unread"
    untouched = is_untouched(file, path, read=read, progress=progress)
    if untouched is None:
        return "missing"
    return "" if untouched else "changed"


def _is_unread(file: InstalledFile, path: Path) -> bool:
    """Return whether only the size of a file is known unless it is read, and it is right."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    known = file.link is not None or file.size <= SMALL or is_same_inode(file, found)
    return not known and found.st_size == file.size
