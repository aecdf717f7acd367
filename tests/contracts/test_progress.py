"""The contract of ``Progress``: the silent one, lines, events and bars keep it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from modelvault.cli.bars import open_bars
from modelvault.cli.progress import PlainLines, ThrottledDisplay
from modelvault.cli.progress_events import JsonLines
from modelvault.core.ports import Progress, Retried, Silence
from modelvault.core.protocol import Stepped

Open = Callable[[], AbstractContextManager[Progress]]

IMPLEMENTATIONS: dict[str, Open] = {
    "silence": lambda: nullcontext(Silence()),
    "lines": lambda: ThrottledDisplay(PlainLines(), interval=0.0),
    "events": lambda: ThrottledDisplay(JsonLines(), interval=0.0),
    "bars": lambda: open_bars(expected=0),
}


@pytest.fixture(params=IMPLEMENTATIONS)
def display(request: pytest.FixtureRequest) -> Open:
    """Return each implementation in turn."""
    return IMPLEMENTATIONS[request.param]


def step(task: str, **more: float) -> Stepped:
    """Return a step of a task."""
    return Stepped(target=task, step="scales of \x1b[31mq_proj", layer=1, layers=2, **more)


def test_every_kind_of_report_is_taken(display: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """With totals and without, with figures and without; nothing can steer a terminal."""
    with display() as progress:
        progress.begin("AWQ", total=100, done=10)
        progress.begin("other", total=None)
        progress.advance("AWQ", 20)
        progress.advance("AWQ", 0, event=Retried(reason="reset"))
        progress.advance("AWQ", 0, event=step("AWQ"))
        progress.advance(
            "AWQ", 0, event=step("AWQ", loss_before=0.5, loss_after=0.25, seconds_left=61.0)
        )
        progress.advance("AWQ", -5)
        progress.end("AWQ", note="converted")
        progress.end("other")
    assert "\x1b[31m" not in capsys.readouterr().err


def test_unknown_and_ended_tasks_are_ignored(display: Open) -> None:
    """Late reports of work that is winding up do no harm."""
    with display() as progress:
        progress.advance("gone", 1)
        progress.advance("gone", 0, event=Retried(reason="x"))
        progress.advance("gone", 0, event=step("gone"))
        progress.end("gone")
        progress.begin("AWQ", total=1)
        progress.end("AWQ")
        progress.advance("AWQ", 0, event=step("AWQ", seconds_left=1.0))
