r"""Small files that stand for large ones which did not come along, and names of half a file.

A clone without Git LFS holds a hundred bytes where the weights should be, an interrupted
download a file of its own name or another beside it. Either is a file like any other to whoever
does not know.

Example:
    >>> describe_stand_in(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    'a Git LFS pointer, not the file itself (9 bytes)'
    >>> unfinished("model.safetensors.aria2")
    'model.safetensors'

Source:
    https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md,
    https://git-annex.branchable.com/internals/pointer_file/
"""

import re

from modelvault.core.model_files import weight_format

LARGEST_STAND_IN = 1024
"""Bytes; Git LFS keeps its pointers below, and so do the others."""
SMALLEST_STAND_IN = 32
"""Bytes."""

_LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v\d")
_SIZE = re.compile(rb"^size (\d{1,16})$", re.MULTILINE)
_LFS_SIZES = range(126, 140)
"""Bytes of a pointer without extensions: sizes have 1 to 14 digits."""
_ANNEX = b"/annex/objects/"
_XET = b"# xet version"
_UNFINISHED = (".incomplete", ".aria2", ".part", ".partial", ".crdownload", ".download")


def describe_stand_in(data: bytes) -> str:
    """Return what a file stands for, in words; empty for a file that is itself.

    Args:
        data: All bytes of a file of ``SMALLEST_STAND_IN`` to ``LARGEST_STAND_IN`` bytes.
    """
    if _LFS.match(data):
        size = _SIZE.search(data)
        whole = f" ({int(size[1])} bytes)" if size else ""
        return f"a Git LFS pointer, not the file itself{whole}"
    if data.startswith(_ANNEX):
        return "a git-annex pointer, not the file itself"
    if data.startswith(_XET):
        return "a Xet pointer, not the file itself"
    return ""


def may_stand_in(path: str, size: int | None) -> bool:
    """Return whether a file may be a stand-in, so that it is worth reading.

    Weights of a few bytes are; of other files those that are as long as a pointer of Git LFS.
    """
    if size is None or not SMALLEST_STAND_IN <= size < LARGEST_STAND_IN:
        return False
    return size in _LFS_SIZES or weight_format(path) is not None


def unfinished(path: str) -> str:
    """Return the file whose unfinished download a name tells of; empty for any other name."""
    for suffix in _UNFINISHED:
        if path.endswith(suffix) and not path.endswith(f"/{suffix}"):
            return path.removesuffix(suffix)
    return ""
