"""How a task's progress reads in one line of any width."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelvault.cli.lines import cells

_PERCENT = 4
_LEFT, _SIZE, _RATE = 11, 14, 10
_BAR, _LONG_BAR = 12, 20
_LEAST_NAME, _LONGEST_NAME = 16, 40
_LEAST_NOTE = 12
_WIDE = 100
"""Cells of a line that has room for a longer bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What there is to say of a task; printable."""

    name: str
    percent: int | None
    share: float | None
    """How much of it is done, 0 to 1; None where its end is not known."""
    size: str
    rate: str
    left: str
    note: str
    step: str
    """What was done last, where it tells steps rather than bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How many cells each part takes; 0 for what there is no room for."""

    name: int
    size: int
    rate: int
    left: int
    bar: int
    note: int

    def render(self, line: Line) -> tuple[str, str]:
        """Return what stands before the bar, and what after it."""
        percent = "" if line.percent is None else f"{line.percent}%"
        name = cells.cut_start(_without_ending(line.name, self.name), self.name)
        before = f"{cells.pad(name, self.name)} {percent:>{_PERCENT}}"
        if line.step:
            room = sum(part + 1 for part in (self.size, self.rate, self.note) if part) - 1
            after = _part(cells.cut_end(line.step, room), room) if room > 0 else ""
            return before, _part(line.left, self.left) + after
        parts = (
            _part(line.left, self.left, right=True),
            _part(line.size, self.size, right=True),
            _part(line.rate, self.rate, right=True),
            _part(cells.cut_end(line.note, self.note), self.note) if self.note else "",
        )
        return before, "".join(parts).rstrip()


def _without_ending(name: str, room: int) -> str:
    """Return a name that is too long without what all files of weights end in.

    The numbers of shards stand before it: ``model-00001-of-00002.safetensors``.
    """
    if cells.width(name) <= room:
        return name
    return name.removesuffix(".safetensors").removesuffix(".gguf")


def _part(text: str, width: int, *, right: bool = False) -> str:
    return f" {cells.pad(text, width, right=right)}" if width else ""


def lay_out(width: int, lines: Sequence[Line]) -> Layout:
    """Return where everything goes in lines of so many cells.

    The percentage is always there, and some of the name. The rest comes as there is room: time
    left, size, rate, bar, and a note where a line has one.
    """
    rest = width - 1 - _PERCENT
    sizes = {"left": 0, "size": 0, "rate": 0, "bar": 0}
    bar = _LONG_BAR if width >= _WIDE else _BAR
    for part, wanted in (("left", _LEFT), ("size", _SIZE), ("rate", _RATE), ("bar", bar)):
        if rest - wanted - 1 < _LEAST_NAME:
            break
        sizes[part] = wanted
        rest -= wanted + 1
    name = max(1, min(rest, _LONGEST_NAME))
    noted = any(line.note or line.step for line in lines)
    note = rest - name - 1 if noted and rest - name - 1 >= _LEAST_NOTE else 0
    return Layout(name=name, note=note, **sizes)
