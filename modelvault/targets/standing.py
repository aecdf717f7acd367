"""What stands in a target, compared with what was installed. No link is followed."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import BadPath
from modelvault.store.hashing import hash_file
from modelvault.targets.receipt import InstalledFile, Placement, Receipt

SMALL = 1024 * 1024
"""Files up to this many bytes are always read."""
_INODE_MASK = 2**63 - 1


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


def locate(root: Path, relative: str, *, link: bool) -> Path:
    """Return where an installed file or link stands.

    Args:
        root: The target's folder.
        relative: The file's path.
        link: Whether a link is meant: then the last part may be one.

    Raises:
        BadPath: The path is unsafe, or leads through a symbolic link.
    """
    folder, _, name = relative.rpartition("/")
    if not link or not folder:
        return root / name if link else fsio.safe_join(root, relative)
    return fsio.safe_join(root, folder) / name


def is_untouched(
    file: InstalledFile, path: Path, *, read: bool = False, progress: Progress | None = None
) -> bool | None:
    """Return whether an installed file is as it was; None when it is gone.

    A link is told by its text, a hardlink by inode and size: its bytes are the vault's
    own. Anything else is hashed.

    Args:
        file: What was installed.
        path: Where it should stand.
        read: Hash hardlinks, too.
        progress: Told about hashed bytes.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if file.link is not None:
        return read_link(path) == file.link
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    if not read and is_same_inode(file, found):
        return True
    return compute_digest(path, file.size, progress or Silence()) == file.digest


def is_same_inode(file: InstalledFile, found: os.stat_result) -> bool:
    """Return whether a file is the very hardlink that was installed."""
    return file.placement is Placement.HARDLINK and inode_of(found) == file.inode


def inode_of(found: os.stat_result) -> int:
    """Return the inode number as receipts have it: its lowest 63 bits."""
    return found.st_ino & _INODE_MASK


def read_link(path: Path) -> str | None:
    """Return the text of a symbolic link; None where no link stands."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def compute_digest(path: Path, size: int, progress: Progress) -> Digest:
    """Return the digest of a file's bytes.

    Args:
        path: The file.
        size: Its length in bytes, for ``progress``.
        progress: Told about hashed bytes, under the file's name.
    """
    progress.begin(path.name, total=size)
    digest, _ = hash_file(path, progress=progress)
    progress.end(path.name, note="checked")
    return digest
