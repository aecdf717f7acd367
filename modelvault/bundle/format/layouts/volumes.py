"""The layout ``volumes``: numbered carriers of at most N bytes, split inside files.

Example:
    >>> parse_volume_size("25GB")
    25000000000
"""

import re

from modelvault.bundle.format.layouts.layout import Layout
from modelvault.core.sizes import parse_size
from modelvault.errors import BadOption

SMALLEST_VOLUME = 1024 * 1024
FAT_LARGEST_FILE = 2**32 - 1
"""FAT keeps a file's length in 32 bits."""
USUAL_VOLUME = 64 * 1024**3

_NAMED_SIZES = {
    "fat32": FAT_LARGEST_FILE,
    # A single-layer DVD holds 4 700 372 992 bytes; the rest is for the index and UDF.
    "dvd": 4_650_000_000,
}
_NAME = re.compile(r"volume-[0-9]{4}\.mvb")


def volume_name(position: int) -> str:
    """Return the name of the volume at ``position``, counted from 0."""
    return f"volume-{position + 1:04d}.mvb"


VOLUMES = Layout(
    name="volumes",
    carrier_name=volume_name,
    is_carrier=lambda name: _NAME.fullmatch(name) is not None,
)


def parse_volume_size(text: str) -> int:
    """Return the largest size of a volume, in bytes.

    Args:
        text: ``fat32``, ``dvd``, a number of bytes, or a number with a decimal (``25GB``)
            or binary (``16GiB``) unit.

    Raises:
        BadOption: Not a size, or below 1 MiB.
    """
    hint = "write fat32, dvd, a number of bytes, or a size such as 25GB or 16GiB"
    named = _NAMED_SIZES.get(text.strip().lower())
    size = parse_size(text, what="a volume size", hint=hint) if named is None else named
    if size < SMALLEST_VOLUME:
        raise BadOption(
            f"files of {size} bytes are not possible: at least {SMALLEST_VOLUME} bytes",
            hint=hint,
        )
    return size


def usual_volume_size(file_system: str) -> int:
    """Return the size of volumes for a file system, in bytes.

    Args:
        file_system: Type as the kernel names it, such as ``vfat`` or ``ext4``.
    """
    return FAT_LARGEST_FILE if file_system in ("vfat", "msdos") else USUAL_VOLUME
