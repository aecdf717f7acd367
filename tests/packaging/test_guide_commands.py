"""Every command line that a guide shows is one that this release takes."""

import re
import shlex
from pathlib import Path

import pytest

from modelvault.cli.group import load_command
from modelvault.cli.table import every_command
from tests.packaging.conftest import CHECKOUT
from tests.support.markdown import read_page

PAGES = [
    CHECKOUT / "README.md",
    CHECKOUT / "docs" / "concepts.md",
    *sorted((CHECKOUT / "docs" / "guides").glob("*.md")),
]
_VARIABLES = re.compile(r"^(?:[A-Z_]+=\S+ )+")
_REMARK = re.compile(r" {2,}|\s#| > ")


def command_lines(page: Path) -> list[str]:
    """Return the command lines of a page's blocks, without remarks; of alternatives the first."""
    lines = [
        _VARIABLES.sub("", line.strip())
        for block in read_page(page).blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]
    shown = [_REMARK.split(line)[0] for line in lines if line.startswith("modelvault ")]
    plain = [line.translate(str.maketrans("", "", "[]…")) for line in shown]
    return [re.sub(r"(\S+?)\|\S+", r"\1", line) for line in plain]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_of_a_page_are_taken(page: Path) -> None:
    """The command is there, and so is each of its options; arguments have their places."""
    rows = every_command()
    for line in command_lines(page):
        words = shlex.split(line)[1:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in rows else words[0]
        assert name in rows, line
        load_command(rows[name]).make_context(name, words[len(name.split()) :])


def test_pages_show_commands() -> None:
    """The lines are found at all: a hundred stand in the guides."""
    assert sum(len(command_lines(page)) for page in PAGES) > 80
