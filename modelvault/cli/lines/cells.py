"""Texts by the cells they take on a terminal: Hangul and Han take two each, marks none.

Widths are those of Unicode's property East_Asian_Width, as terminals use it: wide and
full-width characters take two cells, what joins the character before it takes none.

Source: https://www.unicode.org/reports/tr11/

Example:
    >>> width("모델"), cut("meta-llama/Llama-3:Q4_K_M", 16)
    (4, 'meta-lla…:Q4_K_M')
"""

import unicodedata
from collections.abc import Iterable, Iterator

ELLIPSIS = "…"
"""Stands for what was left out; one cell."""

_JOINING = ("Mn", "Me", "Cf")
_VOWELS_AND_FINALS = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF))
"""Parts of a Hangul syllable that is written apart: they stand in the cells of its first."""


def width(text: str) -> int:
    """Return how many cells a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def widest(texts: Iterable[str]) -> int:
    """Return the cells of the text that takes most; 0 for none."""
    known = list(texts)
    measure = len if "".join(known).isascii() else width
    return max(map(measure, known), default=0)


def _cells(character: str) -> int:
    code = ord(character)
    if code < 0x300:
        return 1
    if unicodedata.category(character) in _JOINING or any(
        first <= code <= last for first, last in _VOWELS_AND_FINALS
    ):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """Return a text with spaces, so that it takes at least so many cells.

    Args:
        text: Printable.
        cells: To be taken.
        right: Whether the text stands to the right of the spaces.
    """
    space = " " * (cells - width(text))
    return space + text if right else text + space


def cut(text: str, cells: int) -> str:
    """Return a text in so many cells at most; what is left out of its middle is an ellipsis."""
    if text.isascii() and cells >= 3:
        kept = (cells - 1) // 2
        whole = len(text) <= cells
        return text if whole else text[: cells - 1 - kept] + ELLIPSIS + text[-kept:]
    if width(text) <= cells:
        return text
    if cells < 3:
        return _start(text, cells - 1) + ELLIPSIS if cells > 0 else ""
    end = _end(text, (cells - 1) // 2)
    return _start(text, cells - 1 - width(end)) + ELLIPSIS + end


def cut_start(text: str, cells: int) -> str:
    """Return the end of a text in so many cells at most, after an ellipsis where it was cut."""
    return text if width(text) <= cells else ELLIPSIS + _end(text, cells - 1)


def cut_end(text: str, cells: int) -> str:
    """Return the start of a text in so many cells at most, with an ellipsis where it was cut."""
    return text if width(text) <= cells else _start(text, cells - 1) + ELLIPSIS


def fold(text: str, cells: int) -> Iterator[str]:
    """Yield a text in lines of so many cells at most; nothing of it is left out."""
    while width(text) > cells:
        line = _start(text, cells) or text[:1]
        yield line
        text = text[len(line) :]
    yield text


def _start(text: str, cells: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += _cells(character)
        if taken > cells:
            return text[:index]
    return text


def _end(text: str, cells: int) -> str:
    taken = 0
    for index in range(len(text) - 1, -1, -1):
        taken += _cells(text[index])
        if taken > cells:
            rest = text[index + 1 :]
            break
    else:
        return text
    while rest and not _cells(rest[0]):  # a mark without the character that it belongs to
        rest = rest[1:]
    return rest
