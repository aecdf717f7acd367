"""Whether a conversion fits: on the disk, and in memory.

Both are asked before the first byte is written, for a conversion takes hours.

Source:
    https://docs.kernel.org/filesystems/proc.html (MemAvailable)
    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current)
"""

import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from converters.awq.models.model import Model, layer_of
from converters.awq.search.observe import choose_extent
from modelvault.core.protocol import Warned
from modelvault.errors import NoSpace, NotEnoughMemory

_MIB = 1024 * 1024
_PROGRAM = 400 * _MIB
"""Python with torch and transformers."""
_PREDICTIONS = 450 * _MIB
"""What comparing predictions takes, once no layer is held."""


def foresee(*requirements: Callable[[], None]) -> Iterator[Warned]:
    """Yield what would be refused, as warnings: a plan tells it before anyone waits for it."""
    for require in requirements:
        try:
            require()
        except (NoSpace, NotEnoughMemory) as error:
            yield Warned(message=f"{error.message}: {error.hint}")


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
            f"the conversion takes {needed // _MIB} MiB on the disk, {there // _MIB} of them are "
            f"written; {free // _MIB} MiB are free",
            hint="free space, or pass on less: fewer --samples, a shorter --sequence-length",
        )


def require_memory(model: Model, length: int, group: int, root: Path = Path("/")) -> None:
    """Refuse what does not fit in memory.

    Args:
        model: To be quantised a layer at a time.
        length: Tokens a sequence.
        group: Channels a quantisation group.
        root: Of the file system, for tests.

    Raises:
        NotEnoughMemory: Less is available.
    """
    needed, available = estimate_memory(model, length, group), available_memory(root)
    if available is not None and needed > available:
        raise NotEnoughMemory(
            f"quantising a layer of this model takes about {needed // _MIB} MiB of memory, "
            f"{available // _MIB} MiB are available",
            hint="end other programs, raise the container's limit, use a shorter "
            "--sequence-length or another machine, or convert --to fp8, which streams",
        )


def estimate_memory(model: Model, length: int, group: int) -> int:
    """Return the bytes of memory that AWQ takes at its peak.

    That is the program; the largest layer in f32 and in four bits, a byte a weight; four
    copies of its largest matrix while that is rounded; the inputs that are kept of each group
    of linears, with their products, three times; and what one sequence takes on its way through.
    """
    tensors = model.weights.tensors
    layers = [0] * model.layers
    for stored in model.tensors():
        layer = layer_of(stored.name)
        if layer is not None:
            layers[layer] += stored.count
    largest = max(layers)
    number = layers.index(largest)
    streams = list(chain.from_iterable(item.streams for item in model.groups(number)))
    shapes = [tensors[f"model.layers.{number}.{names[0]}.weight"].shape for names in streams]
    dense = [shape[1] for names, shape in zip(streams, shapes) if ".experts." not in names[0]]
    routed = [shape[1] for names, shape in zip(streams, shapes) if ".experts." in names[0]]
    kept = 4 * sum(width * sum(choose_extent(width, group)) for width in dense)
    kept += 4 * sum(width * sum(choose_extent(width, group, len(routed))) for width in routed)
    widest = max(max(shape) for shape in shapes)
    matrix = max(shape[0] * shape[1] for shape in shapes)
    passing = 4 * length * (6 * model.hidden + 4 * widest)
    return _PROGRAM + max(5 * largest + 16 * matrix + 3 * kept + passing, _PREDICTIONS)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that can still be taken; None where nothing tells.

    Args:
        root: Of the file system, for tests.
    """
    found = [*_machine(root), *_containers(root)]
    return min(found) if found else None


def _machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) * 1024


def _containers(root: Path) -> Iterator[int]:
    """Yield what is left in each control group that holds this process."""
    for line in _lines(root / "proc/self/cgroup"):
        number, _, path = line.split(":", 2)
        if number != "0":
            continue
        base = root / "sys/fs/cgroup"
        place = base / path.strip().lstrip("/")
        for folder in (place, *place.parents):
            limit = "".join(_lines(folder / "memory.max")).strip()
            if limit.isdigit():
                used = int("".join(_lines(folder / "memory.current")) or 0)
                yield max(0, int(limit) - used + _reclaimable(folder))
            if folder == base:
                break


def _reclaimable(folder: Path) -> int:
    """Return the bytes of cached files in a group, which the kernel gives up."""
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []  # another system, or a limit that is not set
