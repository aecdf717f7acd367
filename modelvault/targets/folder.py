"""A target's folder as a whole: its owner, its lock, and what a crash has left in it.

Invariants:
    * One install at a time works in a target's folder; whatever unpublished files are
      found under that lock are leftovers of a crash.
    * The lock is on the folder itself: no file of ours appears in a runtime's store.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.errors import BadOption, TargetChanged

STAGED_PREFIX = f"{fsio.TEMPORARY_PREFIX}staged-"
"""Prefix of everything that is not published yet. It is longer than the vault's own, since
a models folder may be one in which its owner keeps a ``.modelvault-old``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The account that new files and folders should belong to."""

    uid: int
    gid: int

    @classmethod
    def of(cls, folder: Path) -> "Owner | None":
        """Return the folder's owner, or None where this process could not give files away."""
        if os.geteuid() != 0:
            return None
        while not folder.exists():
            folder = folder.parent
        found = folder.stat()
        return cls(uid=found.st_uid, gid=found.st_gid)

    def take(self, path: Path) -> None:
        """Make the owner own a new file, folder or link; what a link leads to is left alone."""
        with fsio.storage_errors(path):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def refuse_missing(folder: Path) -> None:
    """Refuse a runtime's folder that would be made together with the one above it.

    A folder in one that is there may be new; where that is missing, too, the name is mistyped
    or a disk is not mounted, and a model there would be found by nobody.

    Raises:
        BadOption: As said.
        StorageError: The file system refuses.
    """
    if not fsio.stands(folder) and not fsio.is_folder(folder.parent):
        raise BadOption(
            f"{folder}: neither it nor the folder above it is there",
            hint=f"name the runtime's folder; if it is the right one: mkdir -p {folder}",
        )


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other installs out of an existing target's folder, and translate its errors.

    Raises:
        TargetChanged: Another process made or removed something that this one works with.
        StorageError: The file system refuses.
        VaultBusy: Another process is installing here.
    """
    with target_errors(folder), locked(folder):
        yield


@contextlib.contextmanager
def target_errors(folder: Path) -> Iterator[None]:
    """Translate what the operating system says of a target while the block works in it.

    Raises:
        TargetChanged: Another process made or removed something that this one works with.
        StorageError: The file system refuses.
    """
    try:
        with fsio.storage_errors(folder):
            yield
    except (FileNotFoundError, FileExistsError) as error:
        raise TargetChanged(
            f"{error.filename or folder}: changed while it was being worked on",
            hint="run this again; stop the runtime first if that does not help",
        ) from error


@contextlib.contextmanager
def locked(folder: Path, *, wait: float = 5.0) -> Iterator[None]:
    """Keep other installs away from an existing folder for the block.

    Network file systems that cannot lock a folder go without.

    Args:
        folder: The target's root.
        wait: Seconds to wait for another install.

    Raises:
        VaultBusy: Another process is installing here.
    """
    with fsio.lock_folder(folder, wait=wait, what="another install is at work here"):
        yield


def clear_leftovers(folder: Path) -> None:
    """Remove what a crashed install left unpublished directly in ``folder``."""
    with fsio.storage_errors(folder):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith(STAGED_PREFIX):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def staged(path: Path, label: str = "new") -> Path:
    """Return where something stands, beside its final path, until it is published.

    Args:
        path: Its final path.
        label: Tells several such names of one path apart.
    """
    return path.with_name(f"{STAGED_PREFIX}{label}-{path.name}")
