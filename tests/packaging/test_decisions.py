"""Records of decisions have one shape, and an index that lists them all."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("0*.md"))
TITLE = re.compile(r"# (\d{4}): (\S.*)")
_LINK = r"\[\d{4}\]\(\d{4}-[a-z0-9-]+\.md\)"
_BY = rf"superseded by {_LINK}(?: and {_LINK})*"
STATUS = re.compile(rf"Status: (accepted|{_BY}|accepted; in part {_BY})\.")
SECTIONS = ["Context", "Decision", "Consequences"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_record_has_the_shape(path: Path) -> None:
    """Title with its number, status, and three sections that say something, in this order."""
    title, _, status, *_ = path.read_text().splitlines()
    numbered = TITLE.fullmatch(title)
    assert numbered is not None, title
    assert path.name.startswith(f"{numbered[1]}-")
    assert STATUS.fullmatch(status), status
    parts = re.split(r"^## (.*)\n", path.read_text(), flags=re.MULTILINE)[1:]
    assert parts[::2] == SECTIONS
    assert all(body.strip() for body in parts[1::2])


def test_numbers_are_used_once() -> None:
    """A record is cited by its number."""
    numbers = [path.name[:4] for path in RECORDS]
    assert len(set(numbers)) == len(numbers)


def test_index_lists_every_record_by_its_title() -> None:
    """In order, and none that is not there."""
    index = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\((.+)\) \| (.+) \|$", index, re.MULTILINE)
    expected = []
    for path in RECORDS:
        title = TITLE.match(path.read_text())
        assert title is not None
        expected.append((title[1], path.name, title[2]))
    assert rows == expected
