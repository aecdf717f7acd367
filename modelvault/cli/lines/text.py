"""How values read: sizes, rates, durations, columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelvault.core.protocol import Stepped

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(number: float) -> str:
    """Return bytes as people write them, in powers of 1000: ``4.7 GB``."""
    unit = 0
    while abs(number) >= 999.5 and unit < len(_UNITS) - 1:
        number /= 1000
        unit += 1
    return (
        f"{number:.0f} {_UNITS[unit]}"
        if unit == 0 or number >= 99.95
        else (f"{number:.1f} {_UNITS[unit]}")
    )


def duration(seconds: float) -> str:
    """Return a time span: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def count(number: int, singular: str, plural: str = "") -> str:
    """Return ``1 file`` or ``2 files``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def step(done: "Stepped") -> str:
    """Return ``layer 3 of 32, scales of q_proj, error 0.012 -> 0.0043``."""
    layer = f"layer {done.layer} of {done.layers}"
    words = [f"{layer} done"] if done.step == "layer" else [layer, visible(done.step)]
    if done.loss_before is not None and done.loss_after is not None:
        words.append(f"error {done.loss_before:.3g} -> {done.loss_after:.3g}")
    return ", ".join(words)


def printable(value: str) -> str:
    r"""Return one line that cannot steer a terminal, for names and texts are anyone's.

    Control characters, line ends, marks that reorder text and halves of characters stand as
    escapes: ``\x1b``. Everything that is printed for people passes here, where it is written.
    """
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)


def visible(value: str, *, longest: int = 80) -> str:
    """Return a printable text that is not longer than a column may be."""
    return printable(value if len(value) <= longest else f"{value[: longest - 1]}…")


def columns(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Return rows as lines with aligned columns.

    Args:
        rows: The first is the heading.
        right: Indices of the columns aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
