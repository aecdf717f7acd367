"""What is mounted where, read from the kernel's table; pure apart from one file.

Source: proc_pid_mountinfo(5).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio

MOUNT_TABLE = Path("/proc/self/mountinfo")

MEDIA_FOLDERS = (Path("/media"), Path("/run/media"), Path("/mnt"))
"""Below these, folders stand for media: what is not mounted there is another disk's."""

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system."""

    point: Path
    """Where it is mounted."""
    file_system: str
    """Type as the kernel names it: ``ext4``, ``vfat``, ``fuseblk`` …"""
    source: str
    """What is mounted: a device such as ``/dev/sdb1``, or a name."""


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the mounts of a ``mountinfo`` table, in its order; odd lines are skipped."""
    mounts = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if separator and len(before) >= 6 and len(after) >= 2:
            mounts.append(
                Mount(
                    point=Path(_unescape(before[4])),
                    file_system=after[0],
                    source=_unescape(after[1]),
                )
            )
    return tuple(mounts)


def read_mounts() -> tuple[Mount, ...]:
    """Return what is mounted now; nothing where the kernel has no such table."""
    try:
        with fsio.storage_errors(MOUNT_TABLE):
            return parse_mounts(MOUNT_TABLE.read_text(errors="surrogateescape"))
    except FileNotFoundError:
        return ()


def file_system_of(path: Path, mounts: Sequence[Mount]) -> str:
    """Return the type of the file system that ``path`` is on; empty when unknown."""
    path = path.resolve()
    found = [mount for mount in mounts if path.is_relative_to(mount.point)]
    # The longest point is the nearest; of two at one point the later covers the earlier.
    best = max(enumerate(found), key=lambda item: (len(item[1].point.parts), item[0]), default=None)
    return best[1].file_system if best else ""


def is_unmounted(path: Path, mounts: Sequence[Mount]) -> bool:
    """Return whether ``path`` is where media are mounted, and none is mounted there.

    Args:
        path: Need not exist.
        mounts: What is mounted; where that is unknown nothing is held to be missing.
    """
    path = Path(os.path.realpath(path))  # unlike Path.resolve it takes a loop of links
    below = [folder for folder in MEDIA_FOLDERS if path.is_relative_to(folder)]
    if not below or not mounts:
        return False
    # An autofs is what waits for a medium; the medium itself is another mount over it.
    return not any(
        mount.point.is_relative_to(below[0]) and path.is_relative_to(mount.point)
        for mount in mounts
        if mount.file_system != "autofs"
    )


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of blanks, tabs, newlines and back-slashes."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
