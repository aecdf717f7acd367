"""What progress displays compute: bytes, rates, time left, for a task and for all of them."""

from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]
"""Tells the time in seconds, from any beginning."""

_WINDOW = 30.0
"""Seconds that a rate looks back: long enough to be calm, short enough to be true."""
_GRAIN = 0.5
"""Seconds between two remembered moments."""


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
        self.moved = 0
        """Bytes of this run."""
        self.retries = 0
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
        """Seconds to go at the present rate, or None when that cannot be said."""
        if self.stepped or self.total is None or not self.rate:
            return None
        return max(0.0, (self.total - self.done) / self.rate)
