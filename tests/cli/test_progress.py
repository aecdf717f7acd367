"""Displays of long work: figures, throttled lines, events, and bars on a real terminal."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from modelvault.cli.figures import Figures
from modelvault.cli.lines import text
from modelvault.cli.progress import PlainLines, ThrottledDisplay
from modelvault.cli.progress_events import JsonLines
from modelvault.core.ports import Progress, Retried
from modelvault.core.protocol import Stepped


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        """Begin at some time."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def plain(clock: Clock, **options: int) -> ThrottledDisplay:
    """Return the display for logs."""
    return ThrottledDisplay(PlainLines(), interval=5.0, clock=clock, **options)


def test_rate_forgets_what_was_long_ago() -> None:
    """After a stall the time left follows the present, not the average."""
    clock = Clock()
    figures = Figures(clock, total=20_000)
    for _ in range(10):
        clock.now += 1
        figures.advance(1000)
    assert figures.rate == pytest.approx(1000)
    for _ in range(40):
        clock.now += 1
        figures.advance(100)
    assert figures.rate == pytest.approx(100, rel=0.05)
    assert figures.average == pytest.approx(14_000 / 50)
    assert figures.left == pytest.approx(6000 / figures.rate)


def test_rate_of_no_time_and_of_repeated_work_is_no_nonsense() -> None:
    """Neither infinite nor negative."""
    clock = Clock()
    figures = Figures(clock, total=10, resumed=5)
    assert (figures.rate, figures.average, figures.left) == (0.0, 0.0, None)
    clock.now += 1
    figures.advance(-3)
    assert figures.done == 2
    assert (figures.rate, figures.left) == (0.0, None)


def test_plain_lines_are_throttled_by_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Many calls in ten seconds give two reports, each with a line for everything."""
    clock = Clock()
    with plain(clock, expected=100_000_000) as display:
        display.begin("a.bin", total=50_000_000)
        display.begin("b.bin", total=50_000_000, done=10_000_000)
        for _ in range(640):
            clock.now += 1 / 64
            display.advance("a.bin", 31_250)
        display.advance("a.bin", 0, event=Retried(reason="reset"))
        display.end("a.bin")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "b.bin: resuming at 10.0 MB of 50.0 MB"
    moving = [line for line in lines if "left" in line]
    assert [line.partition(":")[0] for line in moving] == ["a.bin", "all", "a.bin", "all"]
    assert moving[1] == "all: 0 done, 20.0 MB of 100 MB, at 2.0 MB/s, 40 s left"
    assert lines[-2] == "a.bin: done, 20.0 MB, at 2.0 MB/s, 1 retry"
    assert lines[-1] == (
        "all: 1 done, 20.0 MB in this run, 10.0 MB were here, at 2.0 MB/s, 1 retry"
    )


def test_many_small_files_do_not_flood_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted; one line in five seconds names one of them."""
    clock = Clock()
    with plain(clock) as display:
        for number in range(5000):
            clock.now += 0.002
            display.begin(f"file{number}", total=10)
            display.advance(f"file{number}", 10)
            display.end(f"file{number}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 8
    assert lines[-1].startswith("all: 5000 done, 50.0 kB in this run")


def test_unknown_tasks_are_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    """Late reports of threads that are winding up do no harm."""
    display: Progress = plain(Clock())
    display.advance("gone", 1)
    display.advance("gone", 0, event=Retried(reason="x"))
    display.end("gone")
    assert capsys.readouterr().err == ""


def test_json_events_carry_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes, resumed bytes, retries with their reason, rate, time left, and everything."""
    clock = Clock()
    with ThrottledDisplay(JsonLines(), interval=0.5, clock=clock, expected=300) as display:
        display.begin("a", total=100, done=40)
        display.advance("a", 0, event=Retried(reason="the answer ends early"))
        clock.now += 2
        display.advance("a", 60)
        display.end("a", note="fine")
        display.begin("b", total=200)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == [
        "begin",
        "retry",
        "progress",
        "end",
        "begin",
        "overall",
    ]
    assert events[0] == {
        "event": "begin",
        "task": "a",
        "done": 40,
        "total": 100,
        "resumed": 40,
        "retries": 0,
    }
    assert events[1]["reason"] == "the answer ends early"
    assert (events[2]["rate"], events[2]["seconds_left"]) == (30, 0.0)
    assert (events[3]["note"], events[3]["retries"]) == ("fine", 1)
    last = events[-1]
    assert (last["done"], last["total"], last["resumed"], last["retries"]) == (100, 300, 40, 1)
    assert (last["ended"], last["final"]) == (1, True)


_SCRIPT = """
from modelvault.cli.progress import choose_display
from modelvault.core.ports import Retried

with choose_display(json=False, quiet=False, expected=3_000_000) as display:
    display.begin("weights[bold].bin", total=2_000_000, done=500_000)
    display.begin("config.json", total=1_000_000)
    display.advance("weights[bold].bin", 250_000)
    display.advance("weights[bold].bin", 0, event=Retried(reason="the answer ends early"))
    for number in range(40):
        display.begin(f"small-{number}", total=10)
    display.advance("small-39", 10)
    display._display.refresh()
    display.end("config.json", note="already in the vault")
    display.advance("gone", 1)
"""


def on_terminal(script: str, tmp_path: Path) -> str:
    """Return what a program writes to a terminal of 30 lines of 160 characters."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "30"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stderr=slave, stdout=slave, env=environment, cwd=tmp_path
    ) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux: the other side has closed
                break
            if not data:
                break
            written += data
    os.close(master)
    assert process.returncode == 0, written.decode()
    return written.decode()


def test_terminal_shows_bars_resumed_bytes_and_retries(tmp_path: Path) -> None:
    """A bar for each of some tasks, one for all; names are text, never markup."""
    shown = on_terminal(_SCRIPT, tmp_path)
    assert "weights[bold].bin" in shown
    assert "0.8/2.0 MB" in shown
    assert "500 kB were here, 1 retry: the answer ends early" in shown
    assert "all" in shown
    assert "0.8/3.0 MB" in shown
    assert "small-5" in shown
    assert "small-20" not in shown
    assert "config.json: already in the vault" in shown


def stepped(**more: float) -> Stepped:
    """Return a step of an AWQ conversion."""
    return Stepped(target="AWQ", step="scales of q_proj", layer=3, layers=32, **more)


def test_plain_lines_tell_a_step_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Layer, step, error before and after, time left; one line in five seconds."""
    clock = Clock()
    with plain(clock) as display:
        display.begin("AWQ", total=100)
        for _ in range(100):
            clock.now += 0.1
            display.advance(
                "AWQ", 0, event=stepped(loss_before=0.012, loss_after=0.0043, seconds_left=725.0)
            )
    assert capsys.readouterr().err.splitlines() == 2 * [
        "AWQ: layer 3 of 32, scales of q_proj, error 0.012 -> 0.0043, 12 min 05 s left"
    ]


def test_bytes_of_steps_foretell_nothing_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Where one of several tasks tells steps, no rate of bytes is made up for all of them."""
    clock = Clock()
    with plain(clock) as display:
        display.begin("AWQ", total=100_000)
        display.advance("AWQ", 0, event=stepped())
        display.end("AWQ", note="converted")
        display.begin("FP8", total=200_000)
        clock.now += 10
        display.advance("FP8", 50_000)
    *_, before, last = capsys.readouterr().err.splitlines()
    assert before == "all: 1 done, 50.0 kB of 300 kB"
    assert last == "all: 1 done, 50.0 kB in this run, 10 s"


def test_end_of_a_layer_reads_as_such() -> None:
    """The last step of a layer sums it up."""
    whole = Stepped(target="AWQ", step="layer", layer=3, layers=32, loss_before=1, loss_after=0.5)
    assert text.step(whole) == "layer 3 of 32 done, error 1 -> 0.5"


def test_json_events_tell_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    """With every figure, null where one is not known."""
    with ThrottledDisplay(JsonLines(), interval=0.5, clock=Clock()) as display:
        display.begin("AWQ", total=100)
        display.advance("AWQ", 0, event=stepped())
        display.advance("AWQ", 0, event=stepped(loss_before=0.5, loss_after=0.25, seconds_left=3.0))
    _, one, two = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (one["event"], one["task"], one["layer"], one["layers"]) == ("step", "AWQ", 3, 32)
    assert (one["loss_before"], one["seconds_left"]) == (None, None)
    assert (two["loss_before"], two["loss_after"], two["seconds_left"]) == (0.5, 0.25, 3.0)


_STEPS = """
from modelvault.cli.progress import choose_display
from modelvault.core.protocol import Stepped

with choose_display(json=False, quiet=False) as display:
    display.begin("AWQ", total=2_000_000)
    display.advance("AWQ", 0, event=Stepped(target="AWQ", step="[bold]scales", layer=3, layers=32,
                         loss_before=0.012, loss_after=0.0043, seconds_left=725.0))
    display._display.refresh()
"""


def test_terminal_shows_the_step_and_its_time_left(tmp_path: Path) -> None:
    """The time that the converter tells stands in place of a guess from bytes."""
    shown = on_terminal(_STEPS, tmp_path)
    assert "layer 3 of 32, [bold]scales, error 0.012 -> 0.0043" in shown
    assert "12 min 05 s" in shown
