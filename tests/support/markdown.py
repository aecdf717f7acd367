"""What a page of the documents holds, as far as tests ask: headings, code, links, tables.

Our own pages are read, which keep to a small part of Markdown: ``#`` headings, fenced and
indented blocks of code, inline code and inline links. What stands in code is neither heading
nor link.

Source: https://spec.commonmark.org/0.31.2/, and for the anchors of headings what GitHub makes
of them.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Self

_FENCE = "```"
_INDENT = "    "
_HEADING = re.compile(r"(#{1,6}) +(.+)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^()\s]+)\)")
_CODE = re.compile(r"(`+)((?:(?!\n\n).)+?)\1", re.DOTALL)
_ITEM = re.compile(r"\s*(?:[-*]|\d+\.) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """One heading of a page."""

    level: int
    """1 for the page's title."""
    anchor: str
    """What a link to it has after the ``#``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page; ``read_page`` makes it."""

    path: Path
    headings: tuple[Heading, ...]
    blocks: tuple[str, ...]
    """Code in fences or by indentation, in order."""
    links: tuple[str, ...]
    """Targets as they are written, in order."""
    code: frozenset[str]
    """Inline code, with single spaces."""
    tables: tuple[int, ...]
    """Lines of each table, head included."""
    items: int
    """Items of lists."""

    @property
    def anchors(self) -> tuple[str, ...]:
        """The anchors of all headings, in order."""
        return tuple(heading.anchor for heading in self.headings)

    @classmethod
    def parse(cls, path: Path, text: str) -> Self:
        """Return what a page holds.

        Args:
            path: Where it stands.
            text: The whole of it.
        """
        blocks, prose = _split(text.splitlines())
        flow = "\n".join(prose)
        return cls(
            path=path,
            headings=tuple(_headings(prose)),
            blocks=tuple(blocks),
            links=tuple(target for _, target in _LINK.findall(_CODE.sub("code", flow))),
            code=frozenset(" ".join(inner.split()) for _, inner in _CODE.findall(flow)),
            tables=tuple(
                len(list(lines))
                for is_table, lines in groupby(prose, lambda line: line.startswith("|"))
                if is_table
            ),
            items=sum(_ITEM.match(line) is not None for line in prose),
        )


@cache
def read_page(path: Path) -> Page:
    """Return what the page at ``path`` holds."""
    return Page.parse(path, path.read_text(encoding="utf-8"))


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the blocks of code, and the lines outside them."""
    blocks: list[list[str]] = []
    prose: list[str] = []
    fenced = indented = False
    for line in lines:
        if line.startswith(_FENCE):
            fenced, indented = not fenced, False
            if fenced:
                blocks.append([])
        elif fenced or (indented and (line.startswith(_INDENT) or not line)):
            blocks[-1].append(line)
        elif line.startswith(_INDENT) and not (prose and prose[-1]):
            blocks.append([line])
            indented = True
        else:
            prose.append(line)
            indented = False
    return ["\n".join(block).strip("\n") for block in blocks], prose


def _headings(prose: list[str]) -> Iterator[Heading]:
    seen: Counter[str] = Counter()
    for line in prose:
        if found := _HEADING.fullmatch(line):
            text = _LINK.sub(r"\1", found[2]).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            yield Heading(
                level=len(found[1]), anchor=f"{slug}-{seen[slug]}" if seen[slug] else slug
            )
            seen[slug] += 1
