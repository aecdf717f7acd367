"""Tables: whole where nobody looks, as wide as the terminal where somebody does.

Nothing is lost on a narrow terminal without a word: cells that are cut show an ellipsis, columns
that there is no room for are named below, and where not even the needed ones fit, each row
becomes a few lines of its own.

Example:
    >>> Table(columns=(Column("SIZE", right=True), Column("FILE")), rows=[("9 B", "a.txt")]).lines()
    ['SIZE  FILE', ' 9 B  a.txt']
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelvault.cli.lines import cells
from modelvault.cli.lines.text import printable

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is shown."""

    heading: str
    right: bool = False
    """Whether its cells stand to the right: numbers and sizes."""
    least: int | None = None
    """Cells that it may be cut to; None where it is of no use when it is cut."""
    spare: int = 0
    """When it may be left out: the highest goes first; 0 for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]

    def lines(self, width: int | None = None) -> list[str]:
        """Return the table as printable lines.

        Args:
            width: Cells of a line; None for as many as it takes.
        """
        headings = [column.heading for column in self.columns]
        by_column = [*map(_printable, zip(*self.rows))] or [[] for _ in headings]
        wide = [cells.widest([name, *column]) for name, column in zip(headings, by_column)]
        shown = list(range(len(headings)))
        if width is not None:
            shown = self._fit(by_column, wide, width)
        if not shown:
            return [line for row in zip(*by_column) for line in _block(headings, row, width or 1)]
        chosen = [[headings[index], *by_column[index]] for index in shown]
        lines = _aligned(
            chosen,
            [wide[index] for index in shown],
            [self.columns[index].right for index in shown],
        )
        left_out = [name for index, name in enumerate(headings) if index not in shown]
        return lines + (self._named(left_out, width) if left_out and width else [])

    def _fit(self, by_column: list[list[str]], wide: list[int], width: int) -> list[int]:
        """Return which columns are shown, and cut them in ``wide``; none where they do not fit."""
        shown = list(range(len(wide)))
        empty = [index for index in shown if not any(by_column[index])]
        spare = sorted(
            (index for index in shown if self.columns[index].spare),
            key=lambda index: (index in empty, self.columns[index].spare),
        )
        while not self._cut([*shown], wide, width):
            if not spare:
                return []
            shown.remove(spare.pop())
        return shown

    def _cut(self, shown: list[int], wide: list[int], width: int) -> bool:
        """Cut what may be cut until the columns fit; return whether they do."""
        least = {index: self._least(index, wide[index]) for index in shown}
        if sum(least.values()) + _GAP * (len(shown) - 1) > width:
            return False
        excess = sum(wide[index] for index in shown) + _GAP * (len(shown) - 1) - width
        while excess > 0:
            index = max(shown, key=lambda item: wide[item] - least[item])
            wide[index] -= 1
            excess -= 1
        return True

    def _least(self, index: int, wide: int) -> int:
        column = self.columns[index]
        if column.least is None:
            return wide
        return min(wide, max(column.least, cells.width(column.heading)))

    @staticmethod
    def _named(left_out: list[str], width: int) -> list[str]:
        line = f"(no room for {', '.join(left_out)})"
        return [cells.cut_end(line, width)]


def _printable(column: tuple[str, ...]) -> list[str]:
    return [*column] if "".join(column).isprintable() else [*map(printable, column)]


def _aligned(columns: list[list[str]], wide: list[int], right: list[bool]) -> list[str]:
    fitting = []
    template = []
    for column, width, to_right in zip(columns, wide, right):
        if "".join(column).isascii():
            cut = column if max(map(len, column)) <= width else _cut_plain(column, width)
            fitting.append(cut)
            template.append(f"{{:{'>' if to_right else '<'}{width}}}")
        else:
            cut = [cells.cut(cell, width) for cell in column]
            fitting.append([cells.pad(cell, width, right=to_right) for cell in cut])
            template.append("{}")
    lines = map("  ".join(template).format, *fitting)  # a list may have 100,000 rows
    return [*map(str.rstrip, lines)]


def _cut_plain(column: list[str], width: int) -> list[str]:
    return [cell if len(cell) <= width else cells.cut(cell, width) for cell in column]


def _block(headings: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    """Yield one row in lines of its own: its first cell, then the others by their headings."""
    yield from cells.fold(row[0], width)
    for heading, cell in zip(headings[1:], row[1:]):
        if cell:
            yield from cells.fold(f"  {heading}: {cell}" if heading else f"  {cell}", width)


Line = str | Table
"""What the result of a command consists of, for people."""
