"""What a person sees on a terminal of any width: progress, tables, errors."""

import sys
from pathlib import Path

import pytest

from modelvault.cli.lines import cells
from modelvault.cli.lines.table import Column, Table
from tests.support.command import Site
from tests.support.terminal import cells_of, open_terminal

_WIDTHS = (20, 30, 40, 60, 80, 100, 120, 200)

_BARS = """
import time
from modelvault.cli.progress import choose_display
from modelvault.core.ports import Retried

with choose_display(json=False, quiet=False, expected=4_000_000) as display:
    display.begin("model-00001-of-00002.safetensors", total=2_000_000, done=500_000)
    display.begin("모델-가중치-가중치-가중치-00002-of-00002.safetensors", total=2_000_000)
    display.advance("model-00001-of-00002.safetensors", 400_000)
    display.advance(
        "model-00001-of-00002.safetensors", 0, event=Retried(reason="the answer ends early")
    )
    for _ in range(3):
        time.sleep(0.05)
        display._display.refresh()
    print("drawn", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("columns", _WIDTHS)
def test_each_task_is_one_line_with_a_percentage_at_any_width(columns: int, tmp_path: Path) -> None:
    """Nothing wraps, nothing is missing: two files and all of it, in three lines."""
    with open_terminal([sys.executable, "-c", _BARS], columns=columns, cwd=tmp_path) as terminal:
        terminal.wait_until(lambda: "drawn" in terminal.written)
        lines = [line for line in terminal.screen.text if line != "drawn"]
        assert terminal.screen.wrapped == 0
    assert [line.partition("%")[0].split()[-1] for line in lines] == ["22", "45", "0"]
    assert max(map(cells_of, lines)) < columns
    assert not terminal.screen.cursor_hidden


def test_wide_terminal_shows_size_rate_and_what_happened(tmp_path: Path) -> None:
    """As much as there is room for, bytes of the earlier run apart."""
    with open_terminal([sys.executable, "-c", _BARS], columns=160, cwd=tmp_path) as terminal:
        terminal.wait_until(lambda: "drawn" in terminal.written)
        line = next(line for line in terminal.screen.text if "model-00001" in line)
    assert "0.9/2.0 MB" in line
    assert "/s" in line
    assert "500 kB were here, 1 retry: the answer ends early" in line


@pytest.mark.parametrize("number", [2, 15], ids=["SIGINT", "SIGTERM"])
def test_stopped_command_leaves_the_terminal_as_it_was(number: int, tmp_path: Path) -> None:
    """No bar stays, the cursor is there, and the status is that of an interruption."""
    script = f"""
import sys
from modelvault.cli.session import Session
from modelvault.cli.outcome import carry_out

def work():
    exec({_BARS!r})

sys.exit(carry_out(Session(), "modelvault pull", work))
"""
    with open_terminal([sys.executable, "-c", script], columns=80, cwd=tmp_path) as terminal:
        terminal.wait_until(lambda: "drawn" in terminal.written)
        terminal.send(number)
        assert terminal.finish() == 130
    assert not terminal.screen.cursor_hidden
    assert "\x1b[?25l" not in terminal.written
    assert not [line for line in terminal.screen.text if "%" in line]
    assert terminal.screen.text[-2].startswith("error: stopped")


def test_terminal_that_cannot_draw_gets_plain_lines(tmp_path: Path) -> None:
    """In an editor's shell (TERM=dumb) progress is told as in a log."""
    script = (
        "from modelvault.cli.progress import choose_display\n"
        "print(choose_display(json=False, quiet=False))"
    )
    with open_terminal([sys.executable, "-c", script], environment={"TERM": "dumb"}) as terminal:
        assert terminal.finish() == 0
    assert "ThrottledDisplay" in terminal.written


def test_cells_are_counted_not_characters() -> None:
    """Hangul and Han take two, marks and parts of a syllable none."""
    for text, expected in (("abc", 3), ("모델", 4), ("模型", 4), ("e\u0301", 1)):
        assert cells.width(text) == expected
    assert cells.width("\u1112\u1161\u11ab") == 2  # 한, in its parts
    assert cells.cut("한글모델이름", 7) == "한글…름"
    assert cells.cut("한글모델이름", 8) == "한글…름"
    assert cells.cut("meta-llama/Llama-3:Q4_K_M", 16) == "meta-lla…:Q4_K_M"
    assert list(cells.fold("한글모델", 5)) == ["한글", "모델"]


_TABLE = Table(
    columns=(
        Column("ID"),
        Column("REFERENCE", least=12),
        Column("SIZE", right=True),
        Column("LICENCE", spare=2),
        Column("NOTHING", spare=1),
    ),
    rows=[
        ("0123456789ab", "acme/한글-모델-아주-긴-이름-이라서:Q4_K_M", "4.7 GB", "apache-2.0", ""),
        ("fedcba987654", "acme/short", "10 kB", "mit", ""),
    ],
)


@pytest.mark.parametrize("width", [10, 20, 39, 40, 60, 80, 120])
def test_table_fits_whatever_the_width(width: int) -> None:
    """No line is wider; each row's identity and size are there in full."""
    lines = _TABLE.lines(width)
    assert max(map(cells_of, lines)) <= width
    text = "\n".join(lines) if width >= 39 else "".join(line.strip() for line in lines)
    for identity in ("0123456789ab", "fedcba987654"):
        assert identity in text
    assert "4.7 GB" in text or "4.7GB" in text


def test_table_nobody_looks_at_is_whole() -> None:
    """A pipe gets every column, uncut and aligned by cells."""
    heading, first, second = _TABLE.lines(None)
    assert heading.split() == ["ID", "REFERENCE", "SIZE", "LICENCE", "NOTHING"]
    assert "acme/한글-모델-아주-긴-이름-이라서:Q4_K_M" in first
    ends = [cells_of(line[: line.index("B") + 1]) for line in (first, second)]
    assert ends[0] == ends[1]


def test_narrow_table_says_what_it_leaves_out() -> None:
    """Columns go one by one, empty ones first, and are named."""
    assert _TABLE.lines(50)[-1] == "(no room for NOTHING)"
    assert _TABLE.lines(40)[-1] == "(no room for LICENCE, NOTHING)"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_list_fits_the_terminal_and_is_whole_in_a_pipe(tmp_path: Path, columns: int) -> None:
    """The real command on a real terminal."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_bytes(b"{}")
    site = Site(tmp_path / "site")
    name = "an-organisation-with-a-long-name/a-model-whose-name-is-long-as-well-1234567890"
    site.run("pull", model, "--as", name).ok()
    assert name in site.run("list").ok().stdout
    with site.on_terminal("list", columns=columns) as terminal:
        assert terminal.finish() == 0
    assert terminal.screen.wrapped == 0
    assert any("an-org" in line for line in terminal.screen.text)


def test_error_names_its_class_to_look_up(tmp_path: Path) -> None:
    """``error:`` and ``hint:`` begin their lines; the class of the catalogue ends the first."""
    refused = Site(tmp_path).run("list")
    error, hint = refused.stderr.splitlines()
    assert error.startswith("error: ")
    assert error.endswith(" [VaultNotFound]")
    assert hint.startswith("hint: ")
    catalogue = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    assert "`VaultNotFound`" in catalogue
