"""Progress bars on a terminal: one for each task under way, and one for all of them."""

import contextlib
import threading
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Display
from rich.text import Text

from modelvault.cli.lines import text
from modelvault.core.ports import Progress, ProgressEvent, Retried
from modelvault.core.protocol import Stepped

_LONGEST_NAME = 40
_MOST_BARS = 12
"""Bars at once; further tasks are only in the bar for all."""


@contextlib.contextmanager
def open_bars(*, expected: int) -> Iterator[Progress]:
    """Show bars on standard error for the block.

    Args:
        expected: Bytes of everything that is to come; 0 when unknown.
    """
    display = Display(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        _TimeLeft(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with display:
        yield _Bars(display, expected=expected)


class _TimeLeft(TimeRemainingColumn):
    """Time left as a step told it, else as the bytes' rate gives it where bytes tell."""

    max_refresh = 0.0

    def render(self, task: Task) -> Text:
        """Return the time left."""
        told: float | None = task.fields.get("left")
        if told is None and not task.fields.get("stepped"):
            return super().render(task)
        shown = "" if told is None else text.duration(told)
        return Text(shown, style="progress.remaining")


class _Bars:
    """Implements ``Progress`` on a display of rich."""

    def __init__(self, display: Display, *, expected: int) -> None:
        """Begin with the bar for all, hidden.

        Args:
            display: Where bars are shown; the caller starts and stops it.
            expected: Bytes of everything that is to come; 0 when unknown.
        """
        self._display = display
        self._expected = expected
        self._tasks: dict[str, TaskID | None] = {}
        self._notes: dict[str, list[str]] = {}
        self._retries: dict[str, int] = {}
        self._mutex = threading.Lock()
        self._all = display.add_task("all", total=expected or None, visible=False, note="")
        self._total = self._here = self._all_retries = 0

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Show a bar."""
        with self._mutex:
            resumed = f"{text.size(done)} were here" if done else ""
            self._notes[task] = [resumed] if resumed else []
            self._retries[task] = 0
            shown = sum(bar is not None for bar in self._tasks.values())
            self._tasks[task] = None
            if shown < _MOST_BARS:
                bar = self._display.add_task(
                    text.printable(_short(task)), total=total, note=resumed
                )
                self._display.update(bar, completed=done)
                self._tasks[task] = bar
            self._total += total or 0
            self._here += done
            self._display.update(
                self._all,
                total=max(self._expected, self._total),
                visible=len(self._tasks) > 1 or self._total < self._expected,
                note=self._overall_note(),
            )
            self._display.update(self._all, advance=done)

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Move a bar; show a retry or a step beside it."""
        if task not in self._tasks:
            return
        if amount:
            bar = self._tasks[task]
            if bar is not None:
                self._display.advance(bar, amount)
            self._display.advance(self._all, amount)
        match event:
            case Retried():
                self._retry(task, event.reason)
            case Stepped():
                self._step(event)

    def _retry(self, task: str, reason: str) -> None:
        """Count a retry beside its bar, with the reason of the last one."""
        with self._mutex:
            if task not in self._tasks:
                return
            self._retries[task] += 1
            self._all_retries += 1
            count = text.count(self._retries[task], "retry", "retries")
            bar = self._tasks[task]
            if bar is not None:
                note = ", ".join(
                    [*self._notes[task], f"{count}: {text.visible(reason, longest=60)}"]
                )
                self._display.update(bar, note=note)
            self._display.update(self._all, note=self._overall_note())

    def _step(self, step: Stepped) -> None:
        """Show a step beside its bar."""
        with self._mutex:
            bar = self._tasks.get(step.target)
            if bar is not None:
                left = step.seconds_left
                self._display.update(bar, note=text.step(step), left=left, stepped=True)
            self._display.update(self._all, stepped=True)

    def end(self, task: str, *, note: str = "") -> None:
        """Remove a bar; a note stays on the screen."""
        with self._mutex:
            bar = self._tasks.pop(task, None)
            self._notes.pop(task, None)
            self._retries.pop(task, None)
            if bar is not None:
                self._display.remove_task(bar)
        if note:
            line = text.printable(f"{task}: {note}")
            self._display.console.print(line, markup=False, highlight=False)

    def _overall_note(self) -> str:
        words = [f"{text.size(self._here)} were here"] if self._here else []
        if self._all_retries:
            words.append(text.count(self._all_retries, "retry", "retries"))
        return ", ".join(words)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
