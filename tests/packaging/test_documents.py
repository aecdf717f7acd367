"""Documents lead somewhere, and the Korean guides say what the English ones say."""

from collections import Counter
from pathlib import Path

import pytest

from tests.packaging.conftest import CHECKOUT
from tests.support.markdown import Page, read_page

GUIDES = CHECKOUT / "docs" / "guides"
KOREAN = GUIDES / "ko"
FOR_DEVELOPERS = {"add-a-family.md", "add-a-runtime.md"}
"""Guides that have no Korean twin: who changes the code reads English comments, too."""
CONCEPTS = CHECKOUT / "docs" / "concepts.md"
TWINS = {
    CHECKOUT / "README.md": KOREAN / "README.md",
    CONCEPTS: KOREAN / "concepts.md",
    **{
        guide: KOREAN / guide.name
        for guide in sorted(GUIDES.glob("*.md"))
        if guide.name not in FOR_DEVELOPERS
    },
}
"""English page → Korean page."""
ENGLISH = {korean: english for english, korean in TWINS.items()}
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])

twins = pytest.mark.parametrize(
    ("english", "korean"), TWINS.items(), ids=lambda path: path.relative_to(CHECKOUT).as_posix()
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    """A file of the project has to be there, and a heading in it, too."""
    page = read_page(path)
    broken = []
    for link in page.links:
        if "://" in link:
            continue
        target, anchor = _resolve(page, link)
        if not (target.is_relative_to(CHECKOUT) and target.exists()) or (
            anchor and anchor not in read_page(target).anchors
        ):
            broken.append(link)
    assert broken == []


def test_every_user_guide_has_a_korean_twin_and_none_is_left_over() -> None:
    """A guide that is added, renamed or removed takes its twin along."""
    assert set(KOREAN.glob("*.md")) == set(TWINS.values())
    assert {GUIDES / name for name in FOR_DEVELOPERS} <= set(GUIDES.glob("*.md"))


@twins
def test_twins_lead_to_each_other(english: Path, korean: Path) -> None:
    """Who has opened the wrong one finds the other; Korean pages lead to Korean ones."""
    assert korean in _targets(read_page(english))
    led_to = _targets(read_page(korean))
    assert english in led_to
    assert led_to & TWINS.keys() == {english}


@twins
def test_twins_have_the_same_sections(english: Path, korean: Path) -> None:
    """As many headings, of the same levels, in the same order."""
    levels = [heading.level for heading in read_page(english).headings]
    assert [heading.level for heading in read_page(korean).headings] == levels


@twins
def test_twins_print_the_same_code(english: Path, korean: Path) -> None:
    """Blocks are equal byte for byte, and no option, name or error is missing or spelled anew."""
    first, second = read_page(english), read_page(korean)
    assert second.blocks == first.blocks
    assert second.code == first.code


@twins
def test_twins_have_the_same_links(english: Path, korean: Path) -> None:
    """To the same pages and sections, each in its language."""
    assert _links(read_page(korean)) == _links(read_page(english))


@twins
def test_twins_have_as_many_rows_and_items(english: Path, korean: Path) -> None:
    """A row of a table or an item of a list is not forgotten; the glossary is Korean alone."""
    first, second = read_page(english), read_page(korean)
    glossary = 1 if english == CONCEPTS else 0
    assert second.tables[: len(second.tables) - glossary] == first.tables
    assert second.items == first.items


def _resolve(page: Page, link: str) -> tuple[Path, str]:
    """Return the file that a link within the project leads to, and the heading's anchor or ''."""
    target, _, anchor = link.partition("#")
    return (page.path.parent / target).resolve() if target else page.path, anchor


def _targets(page: Page) -> set[Path]:
    return {_resolve(page, link)[0] for link in page.links if "://" not in link}


def _links(page: Page) -> Counter[tuple[object, int | None]]:
    """Return where a page leads, but for its twin: English page or address, heading's position."""
    found: Counter[tuple[object, int | None]] = Counter()
    own = {TWINS.get(page.path), ENGLISH.get(page.path)}
    for link in page.links:
        if "://" in link:
            found[link, None] += 1
            continue
        target, anchor = _resolve(page, link)
        if target not in own:
            position = read_page(target).anchors.index(anchor) if anchor else None
            found[ENGLISH.get(target, target), position] += 1
    return found
