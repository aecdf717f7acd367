"""What progress displays compute: bytes, rates, time left, for a task and for all of them."""

from collections import deque
from collections.abc import Callable

from modelvault.core.ports import Held, ProgressEvent, Retried
from modelvault.core.protocol import Stepped

Clock = Callable[[], float]
"""Tells the time in seconds, from any beginning."""

_WINDOW = 30.0
"""Seconds that a rate looks back: long enough to be calm, short enough to be true."""
_GRAIN = 0.5
"""Seconds between two remembered moments."""
_FORESEEABLE = 100 * 86_400.0
"""Seconds; a longer time left says only that nothing comes."""


class Figures:
    """Numbers of one task, or of all tasks of a display together."""

    def __init__(self, clock: Clock, *, total: int | None = None, resumed: int = 0) -> None:
        """Begin now.

        Args:
            clock: Tells the time.
            total: Bytes it will take; None when unknown.
            resumed: Bytes that were there before.
        """
        self._clock = clock
        self._began = clock()
        self._moments: deque[tuple[float, int]] = deque([(self._began, 0)])
        self.total = total
        self.resumed = resumed
        """Bytes that an earlier run, or somebody else, has brought: they tell nothing of a rate."""
        self.moved = 0
        """Bytes of this run."""
        self.retries = 0
        self.reason = ""
        """Why a part was tried again, the last time."""
        self.step: Stepped | None = None
        """The last step; None where a task tells none, and for all of them together."""
        self.is_open = False
        """Whether more may come than ``total`` says: then nothing can be said of its end."""
        self.stepped = False
        """Whether it, or one of them, tells of steps: then bytes come in leaps and say little."""

    @property
    def done(self) -> int:
        """Bytes that are there, those of earlier runs included."""
        return self.resumed + self.moved

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def advance(self, amount: int) -> None:
        """Count bytes."""
        self.moved += amount
        now = self._clock()
        if now - self._moments[-1][0] >= _GRAIN:
            self._moments.append((now, self.moved))
            while len(self._moments) > 2 and now - self._moments[1][0] >= _WINDOW:
                self._moments.popleft()

    @property
    def rate(self) -> float:
        """Bytes a second, lately; 0 where nothing can be said."""
        since, moved = self._moments[0]
        elapsed = self._clock() - since
        return max(0.0, (self.moved - moved) / elapsed) if elapsed > 0 else 0.0

    @property
    def average(self) -> float:
        """Bytes a second since the beginning."""
        return max(0.0, self.moved / self.elapsed) if self.elapsed > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to go: as a step tells, else at the present rate; None where nobody can say."""
        if self.step is not None:
            return self.step.seconds_left
        if self.stepped or self.is_open or self.total is None or not self.rate:
            return None
        left = max(0.0, (self.total - self.done) / self.rate)
        return left if left < _FORESEEABLE else None

    @property
    def percent(self) -> int | None:
        """How much is done, 0 to 100; 100 only when all is, None where the end is not known."""
        if self.step is not None and self.step.layers > 0:
            whole = self.step.step == "layer"
            return (self.step.layer - (0 if whole else 1)) * 100 // self.step.layers
        if self.is_open or not self.total:
            return None
        return max(0, min(100, self.done * 100 // self.total))


class Tally:
    """The tasks under way, what is over, and all of it together."""

    def __init__(self, clock: Clock, *, expected: int | None = 0) -> None:
        """Begin with no task.

        Args:
            clock: Tells the time.
            expected: Bytes of everything that is to come; 0 for what the tasks announce, None
                where further tasks may come that nobody knows of.
        """
        self._clock = clock
        self._expected = expected or 0
        self._announced = 0
        self._given_up: dict[str, tuple[int, int]] = {}
        self.tasks: dict[str, Figures] = {}
        """Those under way, in the order in which they began."""
        self.all = Figures(clock, total=self._expected)
        self.all.is_open = expected is None
        self.ended = 0
        """How many are over."""

    @property
    def is_one(self) -> bool:
        """Whether the only task is all there is."""
        return self.ended + len(self.tasks) <= 1 and self._announced >= self._expected

    def begin(self, name: str, *, total: int | None, done: int) -> Figures:
        """Return the figures of a task that begins, or that goes on after it was given up."""
        self.tasks[name] = task = Figures(self._clock, total=total, resumed=done)
        total_before, done_before = self._given_up.pop(name, (0, 0))
        self.ended -= total_before > 0
        self._announced += (total or 0) - total_before
        self.all.total = max(self._expected, self._announced)
        if done >= done_before:
            self.all.resumed += done - done_before
        else:  # what came the first time was worth nothing
            self.all.advance(done - done_before)
        return task

    def advance(self, name: str, amount: int, event: ProgressEvent | None) -> Figures | None:
        """Count bytes and events; return the task's figures, None for one not under way."""
        task = self.tasks.get(name)
        if task is None:
            return None
        for figures in (task, self.all):
            match event:
                case Held():
                    figures.resumed += amount
                    continue
                case Retried():
                    figures.retries += 1
                    figures.reason = event.reason
                case Stepped():
                    figures.stepped = True
            if amount:
                figures.advance(amount)
        if isinstance(event, Stepped):
            task.step = event
        return task

    def end(self, name: str) -> Figures | None:
        """Return the figures of a task that is over; None for one not under way."""
        task = self.tasks.pop(name, None)
        if task is not None:
            self.ended += 1
            if task.total is not None and task.done < task.total:
                self._given_up[name] = (task.total, task.done)
        return task
