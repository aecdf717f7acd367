"""Whether a conversion fits: on the disk, and in memory.

Both are asked before the first byte is written, for a conversion takes hours.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current)
"""

import shutil
from pathlib import Path

from modelvault.errors import NoSpace

_MIB = 1024 * 1024


def require_space(folder: Path, needed: int) -> None:
    """Refuse what does not fit on the disk.

    Args:
        folder: Where everything goes; what lies there already counts as done.
        needed: Bytes in all.

    Raises:
        NoSpace: Less is free.
    """
    there = sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())
    free = shutil.disk_usage(folder).free
    if needed - there > free:
        raise NoSpace(
            f"result and activations take {needed // _MIB} MiB, {there // _MIB} of them are "
            f"there; the disk has {free // _MIB} MiB left",
            hint="free space, or pass on less: fewer --samples, a shorter --sequence-length",
        )
