"""A limit on the bytes a second of all connections together.

Every reader reserves a portion before it reads, and the portions are handed out one after
another: connections that want bytes get the same share, and a new one waits no longer
than the others. What a reader did not get from the network it gives back.

Invariant: in any ``t`` seconds at most ``rate * (t + CREDIT)`` bytes and one portion are
handed out.

Example:
    >>> parse_rate("20MB")
    20000000
"""

import threading
import time
from collections.abc import Callable

from modelvault.core.sizes import parse_size
from modelvault.errors import BadOption

CREDIT = 0.25
"""Seconds of the limit that may be caught up on after nobody read, or woke up late."""

_PORTIONS = 20
"""Portions a second: the more, the smoother, and the more calls."""


class RateLimit:
    """Hands out bytes to read; safe to use from any thread."""

    def __init__(self, rate: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start now.

        Args:
            rate: Bytes a second; None for no limit.
            clock: Seconds that only grow.
        """
        self.rate = rate
        self._clock = clock
        self._portion = 0 if rate is None else max(1, rate // _PORTIONS)
        self._free_at = clock()
        self._mutex = threading.Lock()

    def take(self, most: int, sleep: Callable[[float], object]) -> int:
        """Return how many bytes may be read now, after waiting for them: 1 to ``most``.

        Args:
            most: Bytes wanted, at least one.
            sleep: Sleeps for some seconds; may raise to give up.
        """
        if self.rate is None:
            return most
        amount = min(most, self._portion)
        with self._mutex:
            now = self._clock()
            begin = max(self._free_at, now - CREDIT)
            self._free_at = begin + amount / self.rate
        if begin > now:
            sleep(begin - now)
        return amount

    def give_back(self, amount: int) -> None:
        """Take back bytes that were handed out and did not come."""
        if self.rate is not None and amount > 0:
            with self._mutex:
                self._free_at -= amount / self.rate

    def least(self, seconds: float, connections: int, otherwise: int) -> int:
        """Return the bytes below which a connection may be called stalled.

        Args:
            seconds: Over which they are counted.
            connections: How many share the limit.
            otherwise: The answer without a limit.
        """
        if self.rate is None:
            return otherwise
        return min(otherwise, int(self.rate * seconds / connections / 4))


def parse_rate(text: str) -> int:
    """Return a rate in bytes a second.

    Args:
        text: A number, with a decimal (``20MB``) or binary (``20MiB``) unit, ``/s`` or not.

    Raises:
        BadOption: Not a rate, or less than one byte a second.
    """
    rate = parse_size(
        text.strip().removesuffix("/s"),
        what="a rate",
        hint="write bytes a second, such as 500kB, 20MB or 1.5MiB",
    )
    if rate < 1:
        raise BadOption(f"'{text}' would let nothing through", hint="leave out --limit-rate")
    return rate
