"""Displays of long work: bars on a terminal, plain lines elsewhere, JSON for programs.

All of them write to standard error and implement ``modelvault.core.ports.Progress``;
calls may come from several threads. Besides each task they show all tasks together.
"""

import contextlib
import os
import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from modelvault.cli.figures import Clock, Figures, Tally
from modelvault.cli.lines import text
from modelvault.cli.session import Session
from modelvault.core.ports import Progress, ProgressEvent, Retried, Silence
from modelvault.core.protocol import Stepped

ProgressDisplay = AbstractContextManager[Progress]

_WITHOUT_CURSOR = ("", "dumb", "unknown")
"""Terminals on which no line can be drawn anew."""
_LINE_INTERVAL = 5.0
_EVENT_INTERVAL = 0.5


def choose_display(*, json: bool, quiet: bool, expected: int | None = 0) -> ProgressDisplay:
    """Return the display for these options; enter it to show it.

    Args:
        json: Events for programs.
        quiet: Nothing at all.
        expected: Bytes of everything that is to come; 0 for what the tasks announce, None where
            further tasks may come that nobody knows of.
    """
    if quiet:
        return contextlib.nullcontext(Silence())
    if json:
        from modelvault.cli.progress_events import JsonLines

        return ThrottledDisplay(JsonLines(), interval=_EVENT_INTERVAL, expected=expected)
    if sys.stderr.isatty() and os.environ.get("TERM", "") not in _WITHOUT_CURSOR:
        from modelvault.cli.bars import open_bars

        return open_bars(expected=expected)
    return ThrottledDisplay(PlainLines(), interval=_LINE_INTERVAL, expected=expected)


def show_progress(session: Session, *, expected: int | None = 0) -> ProgressDisplay:
    """Return the display that suits a session; enter it to show it.

    Args:
        session: Its options decide.
        expected: As for ``choose_display``.
    """
    return choose_display(json=session.json, quiet=session.quiet, expected=expected)


class Writer(Protocol):
    """Puts figures into words."""

    def begun(self, name: str, task: Figures) -> None:
        """Say that a task began."""

    def moved(self, name: str, task: Figures) -> None:
        """Say how far a task is."""

    def retried(self, name: str, task: Figures, reason: str) -> None:
        """Say that a part of a task is tried again."""

    def stepped(self, step: Stepped, task: Figures, *, due: bool) -> None:
        """Say that a step was done; not ``due`` when something was said moments ago."""

    def ended(self, name: str, task: Figures, note: str, *, due: bool) -> None:
        """Say that a task is over; not ``due`` when something was said moments ago."""

    def overall(self, everything: Figures, ended: int, *, final: bool) -> None:
        """Say how far everything is."""


class ThrottledDisplay:
    """Implements ``Progress``: keeps the figures of all tasks, and has some of them written."""

    def __init__(
        self,
        writer: Writer,
        *,
        interval: float,
        expected: int | None = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        """Begin with no task.

        Args:
            writer: Puts it into words.
            interval: Seconds between two reports of what moves.
            expected: As for ``choose_display``.
            clock: Tells the time.
        """
        self._writer = writer
        self._interval = interval
        self._clock = clock
        self._tally = Tally(clock, expected=expected)
        self._last = clock()
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        """Return the display itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say how far everything came, where that is more than one task."""
        with self._mutex:
            tally = self._tally
            if tally.ended + len(tally.tasks) > 1:
                self._writer.overall(tally.all, tally.ended, final=True)

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Announce a task."""
        with self._mutex:
            self._writer.begun(task, self._tally.begin(task, total=total, done=done))

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Report more bytes, a retry, a step, or bytes that were here before."""
        with self._mutex:
            found = self._tally.advance(task, amount, event)
            if found is None:
                return
            if amount:
                self._move(task, found)
            match event:
                case Retried():
                    self._writer.retried(task, found, event.reason)
                case Stepped():  # from here on the task tells of steps rather than of its bytes
                    self._writer.stepped(event, found, due=self._due())

    def _move(self, task: str, found: Figures) -> None:
        if not found.stepped and self._due():
            tally = self._tally
            self._writer.moved(task, found)
            if len(tally.tasks) > 1 or tally.ended:
                self._writer.overall(tally.all, tally.ended, final=False)

    def _due(self) -> bool:
        now = self._clock()
        if now - self._last < self._interval:
            return False
        self._last = now
        return True

    def end(self, task: str, *, note: str = "") -> None:
        """Announce that a task is over."""
        with self._mutex:
            found = self._tally.end(task)
            if found is not None:
                due = self._due() or found.elapsed >= self._interval or self._tally.ended == 1
                self._writer.ended(task, found, note, due=due)


class PlainLines:
    """Lines for logs: now and then, however many tasks there are."""

    def begun(self, name: str, task: Figures) -> None:
        """Say where a task goes on that an earlier run began."""
        if task.resumed and task.resumed != task.total:
            of = f" of {text.size(task.total)}" if task.total is not None else ""
            _tell(f"{name}: resuming at {text.size(task.resumed)}{of}")

    def moved(self, name: str, task: Figures) -> None:
        """Say how far a task is."""
        _tell(f"{name}: {', '.join(_state(task))}")

    def retried(self, name: str, task: Figures, reason: str) -> None:
        """Say nothing: on a bad line there are many; they are counted."""

    def stepped(self, step: Stepped, task: Figures, *, due: bool) -> None:  # noqa: ARG002
        """Say now and then which step was done."""
        if due:
            left = step.seconds_left
            words = [text.step(step), *([f"{text.duration(left)} left"] if left else [])]
            _tell(f"{step.target}: {', '.join(words)}")

    def ended(self, name: str, task: Figures, note: str, *, due: bool) -> None:
        """Say what a task took; of many short ones only some, the rest are counted."""
        if not due:
            return
        words = [f"{name}: {note or 'done'}", text.size(task.done)]
        if task.stepped:
            words[-1] += f" in {text.duration(task.elapsed)}"
        elif task.moved > 0:
            words.append(f"at {text.size(task.average)}/s")
        _tell(", ".join([*words, *_retries(task)]))

    def overall(self, everything: Figures, ended: int, *, final: bool) -> None:
        """Say how far everything is."""
        if not final:
            _tell(f"all: {ended} done, {', '.join(_state(everything))}")
            return
        words = [f"all: {ended} done", f"{text.size(everything.moved)} in this run"]
        if everything.resumed:
            words.append(f"{text.size(everything.resumed)} were here")
        if everything.stepped:
            words.append(text.duration(everything.elapsed))
        elif everything.moved > 0:
            words.append(f"at {text.size(everything.average)}/s")
        _tell(", ".join([*words, *_retries(everything)]))


def _state(figures: Figures) -> list[str]:
    words = [text.size(figures.done)]
    if figures.total and not figures.is_open:
        words[0] += f" of {text.size(figures.total)}"
    if not figures.stepped:
        words.append(f"at {text.size(figures.rate)}/s")
    if figures.left is not None:
        words.append(f"{text.duration(figures.left)} left")
    return words + _retries(figures)


def _retries(figures: Figures) -> list[str]:
    return [text.count(figures.retries, "retry", "retries")] if figures.retries else []


def _tell(line: str) -> None:
    print(text.printable(line), file=sys.stderr)
