"""Other file systems for tests: mounted where root may, found where not."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.needs import require

MIB = 1024 * 1024


@contextlib.contextmanager
def mounted_tmpfs(point: Path, *, size: int = 64 * MIB) -> Iterator[Path]:
    """Yield an empty folder on a tmpfs of its own.

    Args:
        point: Folder to mount on; made where it is missing.
        size: Bytes it holds.
    """
    with _mounted(["-t", "tmpfs", "-o", f"size={size}", "tmpfs"], point, what="tmpfs mounts"):
        yield point


@contextlib.contextmanager
def mounted_stick(point: Path, *, size: int = 16 * MIB) -> Iterator[Path]:
    """Yield an empty folder on a loop mount: FAT where the kernel knows it, else ext4.

    Args:
        point: Folder to mount on; made where it is missing. The image stands beside it.
        size: Bytes of the image.
    """
    image = point.with_name(f"{point.name}.img")
    if not any(_make_stick(image, point, kind, size) for kind in ("vfat", "ext4")):
        require("loop mounts")
    try:
        (point / "folder").mkdir()
        yield point / "folder"
    finally:
        subprocess.run(["umount", str(point)], check=True)
        image.unlink()


def _make_stick(image: Path, point: Path, kind: str, size: int) -> bool:
    image.unlink(missing_ok=True)
    with open(image, "xb") as file:
        file.truncate(size)
    make = [f"mkfs.{kind}", str(image)]
    path = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    try:
        subprocess.run(make, check=True, capture_output=True, env=path)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    return _mount(["-t", kind, "-o", "loop", str(image)], point)


@contextlib.contextmanager
def other_file_system(folder: Path, disk: Path) -> Iterator[Path]:
    """Yield an empty folder on another file system than ``folder``'s.

    A tmpfs of its own where root may mount one; else shared memory or the disk, whichever
    is another one.

    Args:
        folder: Where the test works.
        disk: A folder on the disk.
    """
    point = folder / "elsewhere"
    if os.geteuid() == 0 and _mount(["-t", "tmpfs", "-o", f"size={64 * MIB}", "tmpfs"], point):
        try:
            (point / "folder").mkdir()
            yield point / "folder"
        finally:
            subprocess.run(["umount", str(point)], check=True)
        return
    for candidate in (Path("/dev/shm"), disk):
        if candidate.is_dir() and candidate.stat().st_dev != folder.stat().st_dev:
            with tempfile.TemporaryDirectory(dir=candidate) as name:
                yield Path(name)
            return
    require("a second file system")


def _mount(arguments: list[str], point: Path) -> bool:
    """Return whether mounting on ``point`` was possible."""
    point.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["mount", *arguments, str(point)], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    return True


@contextlib.contextmanager
def _mounted(arguments: list[str], point: Path, *, what: str) -> Iterator[None]:
    if not _mount(arguments, point):
        require(what)
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)
