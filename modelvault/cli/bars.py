"""Progress on a terminal: a line for each task under way, and one for all of them.

A line fits the terminal, whatever its width: it has the task's name and a percentage, and as
much of the rest as there is room for. The cursor is never hidden, so that no way of ending the
program can leave a terminal without one.
"""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment

from modelvault.cli.figures import Clock, Figures, Tally
from modelvault.cli.lines import cells, text
from modelvault.cli.lines.progress_line import Line, lay_out
from modelvault.core.ports import Progress, ProgressEvent

_MOST_LINES = 12
"""Tasks at once; the others are counted."""
_MOST_NOTES = 5
"""Lines of equal words about tasks that are over; the others are counted."""
_REFRESHES = 8
"""A second."""


@contextlib.contextmanager
def open_bars(*, expected: int | None, clock: Clock = time.monotonic) -> Iterator[Progress]:
    """Show progress on standard error for the block.

    Args:
        expected: As for ``progress.choose_display``.
        clock: Tells the time.
    """
    picture = _Picture(Tally(clock, expected=expected))
    display = Live(
        picture,
        console=_Console(stderr=True),
        refresh_per_second=_REFRESHES,
        redirect_stdout=sys.stdout.isatty(),
        transient=True,
    )
    bars = _Bars(display, picture)
    with display:
        try:
            yield bars
        finally:
            bars.close()


class _Console(Console):
    """A console that leaves the cursor where people see it."""

    def show_cursor(self, show: bool = True) -> bool:
        """Show it; never hide it."""
        return super().show_cursor(True) if show else False


class _Picture:
    """What is to be seen: drawn anew, a few times a second, from the figures as they are then."""

    def __init__(self, tally: Tally) -> None:
        """Begin with nothing to show.

        Args:
            tally: Keeps the figures; whoever changes it holds ``mutex``.
        """
        self.tally = tally
        self.mutex = threading.Lock()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines, none wider than the terminal."""
        lines = self._lines(max(1, min(_MOST_LINES, console.height - 3)))
        # One cell less: some terminals begin a new line as soon as the last cell is filled.
        layout = lay_out(max(1, options.max_width - 1), lines)
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            before, after = layout.render(line)
            yield Segment(before)
            if layout.bar:
                bar = ProgressBar(total=1.0, completed=line.share or 0.0, width=layout.bar)
                yield Segment(" ")
                yield from console.render(bar, options.update(width=layout.bar))
            yield Segment(after)

    def _lines(self, most: int) -> list[Line]:
        with self.mutex:
            tasks = [*self.tally.tasks.items()]
            lines = [_line(text.printable(name), task) for name, task in tasks[:most]]
            if not self.tally.is_one and (tasks or self.tally.ended):
                lines.insert(0, self._overall(len(tasks) - len(lines)))
        return lines

    def _overall(self, hidden: int) -> Line:
        counts = [f"{self.tally.ended} done"] if self.tally.ended else []
        counts += [f"{hidden} more at work"] if hidden else []
        return _line(f"all ({', '.join(counts)})" if counts else "all", self.tally.all)


class _Bars:
    """Implements ``Progress`` on a display of rich."""

    def __init__(self, display: Live, picture: _Picture) -> None:
        """Begin with no task.

        Args:
            display: Draws the picture; the caller starts and stops it.
            picture: Shows the figures.
        """
        self._display = display
        self._picture = picture
        self._noted: Counter[str] = Counter()

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Show a task."""
        with self._picture.mutex:
            self._picture.tally.begin(task, total=total, done=done)

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Count bytes, a retry, a step, or bytes that were here before."""
        with self._picture.mutex:
            self._picture.tally.advance(task, amount, event)

    def end(self, task: str, *, note: str = "") -> None:
        """Remove a task; its note stays on the screen, as long as there are not many."""
        with self._picture.mutex:
            self._picture.tally.end(task)
            self._noted[note] += 1
            shown = bool(note) and self._noted[note] <= _MOST_NOTES
        if shown:
            words = text.printable(note)
            room = self._display.console.width - cells.width(words) - 3
            self._tell(f"{cells.cut_start(text.printable(task), max(room, 8))}: {words}")

    def close(self) -> None:
        """Count the tasks whose notes were left out."""
        for note, number in self._noted.items():
            if note and number > _MOST_NOTES:
                self._tell(f"{number - _MOST_NOTES} more: {text.printable(note)}")

    def _tell(self, line: str) -> None:
        self._display.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _line(name: str, figures: Figures) -> Line:
    notes = [f"{text.size(figures.resumed)} were here"] if figures.resumed else []
    if figures.retries:
        retries = text.count(figures.retries, "retry", "retries")
        reason = f": {text.visible(figures.reason, longest=60)}" if figures.reason else ""
        notes.append(retries + reason)
    whole = figures.total or None
    left = figures.left
    return Line(
        name=name,
        percent=figures.percent,
        share=None if whole is None else figures.done / whole,
        size=text.share(figures.done, whole),
        rate=f"{text.size(figures.rate)}/s" if figures.moved and not figures.stepped else "",
        left="" if left is None else text.duration(left),
        note=", ".join(notes),
        step="" if figures.step is None else text.step(figures.step),
    )
