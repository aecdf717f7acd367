"""How much memory a GPU has: by the name people call it, or by a size.

Example:
    >>> find_gpu("rtx4090").memory // 2**20, find_gpu("24GB").memory // 2**30
    (24564, 24)

Source: what ``nvidia-smi`` and ``rocm-smi`` report as the total of each board; vendors' data
sheets give the same in GB.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.errors import BadOption

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_LARGEST = 4096 * _GIB
_SIZE = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)\s*(?:g|gb|gib)", re.IGNORECASE)

_NAMED: Mapping[str, int] = {
    "t4": 15360,
    "v100-16": 16384,
    "v100": 32768,
    "p40": 24576,
    "a2": 15356,
    "a10": 23028,
    "a16": 15356,
    "a30": 24576,
    "a40": 46068,
    "a100-40": 40960,
    "a100-80": 81920,
    "a800": 81920,
    "l4": 23034,
    "l20": 46068,
    "l40": 46068,
    "l40s": 46068,
    "h20": 97871,
    "h100": 81559,
    "h100-94": 95830,
    "h200": 143771,
    "h800": 81559,
    "gh200": 97871,
    "b200": 183359,
    "b300": 275040,
    "rtx2080ti": 11264,
    "rtx3060": 12288,
    "rtx3070": 8192,
    "rtx3080": 10240,
    "rtx3090": 24576,
    "rtx3090ti": 24564,
    "rtx4060": 8188,
    "rtx4060ti-16": 16380,
    "rtx4070": 12282,
    "rtx4070tisuper": 16376,
    "rtx4080": 16376,
    "rtx4080super": 16376,
    "rtx4090": 24564,
    "rtx5060ti-16": 16311,
    "rtx5070": 12227,
    "rtx5070ti": 16303,
    "rtx5080": 16303,
    "rtx5090": 32607,
    "rtxa4000": 16376,
    "rtxa5000": 24564,
    "rtxa6000": 49140,
    "rtx4000ada": 20475,
    "rtx5000ada": 32760,
    "rtx6000ada": 49140,
    "rtxpro6000": 97887,
    "mi210": 65520,
    "mi250": 65520,
    "mi300x": 196592,
    "mi325x": 262128,
    "mi355x": 294896,
}
"""Name → MiB in all."""
_ALSO: Mapping[str, str] = {
    "a100": "a100-40",
    "a100-40gb": "a100-40",
    "a100-80gb": "a100-80",
    "a6000": "rtxa6000",
    "h100-80": "h100",
    "h100-80gb": "h100",
    "h100nvl": "h100-94",
    "v100-32": "v100",
    "6000ada": "rtx6000ada",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU."""

    name: str
    memory: int
    """Bytes in all."""
    used: int = 0
    """Bytes that other programs hold now; 0 where it is not of this machine."""

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return max(0, self.memory - self.used)


def find_gpu(text: str) -> Gpu:
    """Return the GPU that a user means.

    Args:
        text: A name such as ``rtx4090``, spelled with or without spaces and dashes, or a size
            such as ``24GB``, which counts as its vendor counts: in GiB.

    Raises:
        BadOption: Neither.
    """
    if match := _SIZE.fullmatch(text.strip()):
        memory = int(float(match[1]) * _GIB)
        if not 0 < memory <= _LARGEST:
            raise BadOption(f"--gpu {text!r}: no GPU has that much", hint="write it as 24GB")
        return Gpu(name=text.strip(), memory=memory)
    wanted = _plain(text)
    names = {_plain(name): name for name in (*_NAMED, *_ALSO)}
    name = names.get(wanted) or names.get(f"rtx{wanted}")
    if name is None:
        raise BadOption(
            f"--gpu {text!r} is no GPU that is known here",
            hint=f"write its memory (--gpu 24GB), or one of {', '.join(sorted(_NAMED))}",
        )
    name = _ALSO.get(name, name)
    return Gpu(name=name, memory=_NAMED[name] * _MIB)


def gpu_names() -> tuple[str, ...]:
    """Return the names that are known."""
    return tuple(_NAMED)


def _plain(text: str) -> str:
    found = re.sub(r"[^a-z0-9]", "", text.lower())
    return re.sub(r"^(?:nvidia)?(?:geforce)?(?:tesla)?", "", found)
