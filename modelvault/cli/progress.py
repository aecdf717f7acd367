"""Displays of long work: bars on a terminal, plain lines elsewhere, JSON for programs.

All of them write to standard error and implement ``modelvault.core.progress.Progress``;
calls may come from several threads.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from modelvault.cli import text
from modelvault.core.progress import Progress, Silence

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

ProgressDisplay = AbstractContextManager[Progress]

_LINE_INTERVAL = 5.0
_EVENT_INTERVAL = 0.5


def choose_display(*, json: bool, quiet: bool) -> ProgressDisplay:
    """Return the display for these options; enter it to show it."""
    if quiet:
        return contextlib.nullcontext(Silence())
    if json:
        return contextlib.nullcontext(_Reporter(_JsonLines(), interval=_EVENT_INTERVAL))
    if sys.stderr.isatty():
        return _bars()
    return contextlib.nullcontext(_Reporter(_PlainLines(), interval=_LINE_INTERVAL))


@dataclass(slots=True)
class _Task:
    total: int | None
    done: int
    resumed: int
    retries: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Bytes a second since the task began in this run."""
        elapsed = time.monotonic() - self.started
        return (self.done - self.resumed) / elapsed if elapsed > 0.001 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to go at the present rate, or None when that cannot be said."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0.0, (self.total - self.done) / self.rate)


class _Writer(Protocol):
    def begun(self, name: str, task: _Task) -> None: ...
    def moved(self, name: str, task: _Task) -> None: ...
    def retried(self, name: str, task: _Task, reason: str) -> None: ...
    def ended(self, name: str, task: _Task, note: str) -> None: ...


class _Reporter:
    """Keeps the figures of all tasks and calls a writer now and then."""

    def __init__(self, writer: _Writer, *, interval: float) -> None:
        self._writer = writer
        self._interval = interval
        self._tasks: dict[str, _Task] = {}
        self._last = time.monotonic()
        self._mutex = threading.Lock()

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Announce a task."""
        with self._mutex:
            self._tasks[task] = _Task(total=total, done=done, resumed=done)
            self._writer.begun(task, self._tasks[task])

    def advance(self, task: str, amount: int) -> None:
        """Report more bytes."""
        with self._mutex:
            found = self._tasks.get(task)
            if found is None:
                return
            found.done += amount
            now = time.monotonic()
            if now - self._last >= self._interval:
                self._last = now
                self._writer.moved(task, found)

    def retry(self, task: str, reason: str) -> None:
        """Count a retry."""
        with self._mutex:
            found = self._tasks.get(task)
            if found is not None:
                found.retries += 1
                self._writer.retried(task, found, reason)

    def end(self, task: str, *, note: str = "") -> None:
        """Announce that a task is over."""
        with self._mutex:
            found = self._tasks.pop(task, None)
            if found is not None:
                self._writer.ended(task, found, note)


class _PlainLines:
    """A line at the end of each task, and every few seconds on the way."""

    def begun(self, name: str, task: _Task) -> None:
        if task.resumed and task.resumed != task.total:
            of = f" of {text.size(task.total)}" if task.total is not None else ""
            print(f"{name}: resuming at {text.size(task.resumed)}{of}", file=sys.stderr)

    def moved(self, name: str, task: _Task) -> None:
        words = [f"{name}: {text.size(task.done)}"]
        if task.total is not None:
            words.append(f"of {text.size(task.total)}")
        words.append(f"at {text.size(task.rate)}/s")
        if task.left is not None:
            words.append(f"{text.duration(task.left)} left")
        print(", ".join(words), file=sys.stderr)

    def retried(self, name: str, task: _Task, reason: str) -> None:
        """Only counted: on a bad line there are many."""

    def ended(self, name: str, task: _Task, note: str) -> None:
        words = [f"{name}: {note or 'done'}", text.size(task.done)]
        if task.done > task.resumed:
            words.append(f"at {text.size(task.rate)}/s")
        if task.retries:
            words.append(text.count(task.retries, "retry", "retries"))
        print(", ".join(words), file=sys.stderr)


class _JsonLines:
    """One JSON object a line."""

    def begun(self, name: str, task: _Task) -> None:
        self._write("begin", name, task)

    def moved(self, name: str, task: _Task) -> None:
        self._write("progress", name, task, rate=round(task.rate), seconds_left=task.left)

    def retried(self, name: str, task: _Task, reason: str) -> None:
        self._write("retry", name, task, reason=reason)

    def ended(self, name: str, task: _Task, note: str) -> None:
        self._write("end", name, task, note=note)

    def _write(self, event: str, name: str, task: _Task, **more: str | float | None) -> None:
        line = {"event": event, "task": name, "done": task.done, "total": task.total}
        line |= {"retries": task.retries, **more}
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr)


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    display = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
    with display:
        yield _Bars(display)


class _Bars:
    """One bar a task, and one for all of them."""

    def __init__(self, display: "RichProgress") -> None:
        self._display = display
        self._tasks: dict[str, TaskID] = {}
        self._mutex = threading.Lock()
        self._all = display.add_task("all", total=None, visible=False)
        self._total = 0

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Show a bar."""
        with self._mutex:
            name = task if len(task) <= 48 else f"…{task[-47:]}"
            self._tasks[task] = self._display.add_task(name, total=total, completed=done)
            self._total += (total or 0) - done
            several = len(self._tasks) > 1
            self._display.update(self._all, total=self._total, visible=several)

    def advance(self, task: str, amount: int) -> None:
        """Move a bar."""
        found = self._tasks.get(task)
        if found is not None:
            self._display.advance(found, amount)
            self._display.advance(self._all, amount)

    def retry(self, task: str, reason: str) -> None:
        """Leave the bar as it is."""

    def end(self, task: str, *, note: str = "") -> None:
        """Remove a bar; a note stays on the screen."""
        with self._mutex:
            found = self._tasks.pop(task, None)
            if found is not None:
                self._display.remove_task(found)
        if note:
            self._display.console.print(f"{task}: {note}", markup=False, highlight=False)
