"""Whether a conversion fits: on the disk, and in memory.

Both are asked before the first byte is written, for a conversion takes hours.

Source:
    https://docs.kernel.org/filesystems/proc.html (MemAvailable)
    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current)
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from modelvault.core.protocol import Warned
from modelvault.errors import NoSpace, NotEnoughMemory
from modelvault_converters.awq.models.families import is_expert
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.awq.models.model import Model, layer_of
from modelvault_converters.awq.search.observe import choose_extent
from modelvault_converters.awq.search.portions import widened
from modelvault_converters.awq.search.search import ROUNDED

_MIB = 1024 * 1024
_PROGRAM = 400 * _MIB
"""Python with torch and transformers."""
_PREDICTIONS = 450 * _MIB
"""What comparing predictions takes, once no layer is held."""
_LIBRARIES = 512 * _MIB
"""Workspaces of a GPU's libraries, and what the allocator cannot use of what is free."""
_RESTORED = 16
"""Bytes a weight of a matrix that is rounded to eight bits and back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done with one layer after another."""

    model: Model
    length: int
    """Tokens a sequence."""
    group: int | None
    """Channels a quantisation group; None where nothing is searched for."""
    eager: bool
    """Whether the scores of attention are held, all of them."""

    @classmethod
    def of(cls, runner: LayerRunner, length: int, group: int | None = None) -> "Work":
        """Return the work of a runner."""
        return cls(model=runner.model, length=length, group=group, eager=runner.eager)

    @property
    def purpose(self) -> str:
        """What is done, for a message."""
        return "quantising" if self.group else "checking"

    @property
    def way_out(self) -> str:
        """What takes less, for a hint."""
        return ", or convert --to fp8, which streams" if self.group else ", or leave --check out"


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


def require_memory(work: Work, device: torch.device, root: Path = Path("/")) -> None:
    """Refuse what does not fit in memory, or in a GPU's.

    Args:
        work: What is to be done, a layer at a time.
        device: Where it is done.
        root: Of the file system, for tests.

    Raises:
        NotEnoughMemory: Less is available.
    """
    needed, available = estimate_memory(work), available_memory(root)
    if available is not None and needed > available:
        raise NotEnoughMemory(
            f"{work.purpose} a layer of this model takes about {needed // _MIB} MiB of memory, "
            f"{available // _MIB} MiB are available",
            hint="end other programs, raise the container's limit, use a shorter "
            f"--sequence-length or another machine{work.way_out}",
        )
    if device.type == "cpu":
        return
    needed, available = estimate_device_memory(work), device_memory(device)
    if needed > available:
        raise NotEnoughMemory(
            f"{work.purpose} a layer of this model takes about {needed // _MIB} MiB of memory on "
            f"{device}, {available // _MIB} MiB are free there",
            hint="end what else runs there, use a shorter --sequence-length, or leave --device out",
        )


def estimate_memory(work: Work) -> int:
    """Return the bytes of memory that a conversion takes at its peak.

    That is the program, and what the layer takes. A GPU takes that upon itself, but its
    libraries take about as much of the processor's memory as they save.
    """
    sizes = _weigh(work, eager=work.eager)
    return _PROGRAM + _peak(work, sizes, rounded=16 * sizes.matrix)


def estimate_device_memory(work: Work) -> int:
    """Return the bytes of a GPU's memory that a conversion takes at its peak.

    That is the layer as on the processor, but for the matrix that is being rounded: more of its
    rows are taken at once, each weight in seven numbers; and the scores of attention are held
    where no kernel does without.
    """
    sizes = _weigh(work, eager=True)
    at_once = min(sizes.matrix, widened(ROUNDED, torch.device("cuda")))
    return _LIBRARIES + _peak(work, sizes, rounded=28 * at_once)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """What a layer takes: of the weights their number, else bytes."""

    layer: int
    """Weights of the largest layer."""
    matrix: int
    """Weights of its largest matrix."""
    kept: int
    """Inputs that are kept of each group of linears, with their products."""
    passing: int
    """What one sequence takes on its way through."""


def _peak(work: Work, sizes: _Sizes, *, rounded: int) -> int:
    """Return the bytes that layers and predictions take, with those of the matrix in work."""
    if work.group is None:
        layer = 4 * sizes.layer + _RESTORED * sizes.matrix + sizes.passing
    else:
        layer = 5 * sizes.layer + rounded + 3 * sizes.kept + sizes.passing
    return max(layer, _PREDICTIONS)


def _weigh(work: Work, *, eager: bool) -> _Sizes:
    model, tensors = work.model, work.model.weights.tensors
    layers = [0] * model.layers
    for stored in model.tensors():
        layer = layer_of(stored.name)
        if layer is not None:
            layers[layer] += stored.count
    largest = max(layers)
    number = layers.index(largest)
    streams = list(chain.from_iterable(item.streams for item in model.groups(number)))
    shapes = [tensors[f"model.layers.{number}.{names[0]}.weight"].shape for names in streams]
    kept = 0
    if work.group:
        routed = [names[0] for names in streams if is_expert(names[0])]
        for names, shape in zip(streams, shapes):
            among = len(routed) if is_expert(names[0]) else 0
            kept += 4 * shape[1] * sum(choose_extent(shape[1], work.group, among))
    widest = max(max(shape) for shape in shapes)
    scores = model.heads * work.length if eager else 0
    return _Sizes(
        layer=largest,
        matrix=max(shape[0] * shape[1] for shape in shapes),
        kept=kept,
        passing=4 * work.length * (6 * model.hidden + 4 * widest + 3 * scores),
    )


def device_memory(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that are free."""
    return int(torch.cuda.mem_get_info(device)[0])


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
        own = base / path.strip().lstrip("/")
        for folder in (own, *own.parents):
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
