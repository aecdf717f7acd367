"""How values read: sizes, rates, durations, counts."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelvault.core.protocol import Stepped

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LONGEST = 99 * _DAY
"""Seconds; a span above is not worth its number."""


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


def share(done: float, whole: float | None) -> str:
    """Return ``0.8/2.0 MB``, or only what is done where the whole is not known."""
    if whole is None:
        return size(done)
    number, unit = size(whole).split(" ")
    scale = 1000.0 ** _UNITS.index(unit)
    digits = 1 if "." in number else 0
    return f"{done / scale:.{digits}f}/{number} {unit}"


def duration(seconds: float) -> str:
    """Return a time span: ``42 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 04 h``.

    What takes longer than anybody waits is told as that: the number would only say how little has
    come so far.
    """
    total = round(min(seconds, _LONGEST))
    if total < _MINUTE:
        return f"{total} s"
    if total < _HOUR:
        return f"{total // _MINUTE} min {total % _MINUTE:02d} s"
    if total < 2 * _DAY:
        return f"{total // _HOUR} h {total % _HOUR // _MINUTE:02d} min"
    if total < _LONGEST:
        return f"{total // _DAY} d {total % _DAY // _HOUR:02d} h"
    return f"more than {_LONGEST // _DAY} d"


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
