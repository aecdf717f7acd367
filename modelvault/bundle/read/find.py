"""Finding bundles on mounted media, so that an operator need not type a mount point."""

import os
from collections.abc import Sequence
from pathlib import Path

from modelvault.bundle.format import names
from modelvault.bundle.medium.mounts import MEDIA_FOLDERS, Mount, read_mounts
from modelvault.errors import StorageError
from modelvault.fsio import is_regular

_MEDIA_FILE_SYSTEMS = frozenset(
    {"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "iso9660", "udf", "hfsplus"}
)
_MOST_ENTRIES = 10_000
"""Folders looked into per mount; a medium with more is searched no further."""


def is_medium(mount: Mount) -> bool:
    """Return whether a mount looks like a stick, disk or disc that somebody carries.

    Network and kernel file systems are left out: looking into them may hang.
    """
    if mount.file_system in _MEDIA_FILE_SYSTEMS:
        return True
    block_device = mount.source.startswith("/dev/")
    return block_device and any(mount.point.is_relative_to(folder) for folder in MEDIA_FOLDERS)


def find_bundles(mounts: Sequence[Mount] | None = None) -> list[Path]:
    """Return the folders that hold a bundle, sorted: mount points and one folder below.

    Each can be given to ``read.open_bundle``. A medium that cannot be read is passed over:
    it is not what the operator means, and naming it explicitly reports why.

    Args:
        mounts: Where to look; by default what is mounted now.
    """
    found: set[Path] = set()
    for mount in read_mounts() if mounts is None else mounts:
        if is_medium(mount):
            found.update(folder for folder in _folders(mount.point) if _holds_bundle(folder))
    return sorted(found)


def _folders(point: Path) -> list[Path]:
    """Return the mount point and the folders in it, without following links."""
    try:
        with os.scandir(point) as entries:
            below = [
                Path(entry.path)
                for entry, _ in zip(entries, range(_MOST_ENTRIES))
                if entry.is_dir(follow_symlinks=False) and entry.name != names.FOLDER
            ]
    except OSError:
        return []
    return [point, *below]


def _holds_bundle(folder: Path) -> bool:
    try:
        bundle = folder / names.FOLDER
        return not bundle.is_symlink() and is_regular(bundle / names.INDEX)
    except (OSError, StorageError):
        return False
