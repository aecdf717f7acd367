"""How often and when a request is tried again: decisions, no network.

Everything is counted, and the counts start again only when enough bytes have come since:
no sequence of answers keeps a download busy for ever.

Source: RFC 9110 (Retry-After); the IETF draft on ``RateLimit`` header fields.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MIB = 1024 * 1024

_BUSY = frozenset({408, 425, 429})

_REMAINING = re.compile(r";\s*r=(\d{1,18})")
_RESET = re.compile(r";\s*t=(\d{1,18})")
_SECONDS = re.compile(r"\d{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where patience ends; tests shorten the times."""

    attempts: int = 8
    """Failed attempts in a row, without progress, before a segment is given up."""
    relocations: int = 5
    """Times in a row, without progress, that one file is located again."""
    streams: int = 4
    """Whole-file streams of one file, where the server ignores ranges."""
    redirects: int = 8
    """Redirects in one answer."""
    progress: int = MIB
    """Bytes that count as progress and make the counts start again."""
    first_wait: float = 0.5
    """Seconds before the first new attempt; doubles from there."""
    longest_wait: float = 30.0
    """Seconds at most between attempts, where the server gives no time."""
    longest_hint: float = 600.0
    """Seconds a server may ask to wait; more ends the download, to be resumed later."""
    connect_timeout: float = 10.0
    """Seconds for a connection to stand."""
    read_timeout: float = 30.0
    """Seconds of silence on a connection before it counts as broken."""
    stall_window: float = 60.0
    """Seconds over which a transfer has to bring ``stall_bytes``, or is cut."""
    stall_bytes: int = 64 * 1024
    """Bytes; see ``stall_window``."""


WINDOW = 330.0
"""Seconds that sit out a whole window of the Hub's rate limit, which is 300, and a little more."""

QUESTION_LIMITS = Limits(attempts=3, longest_hint=WINDOW)
"""Patience with a question that the user waits for: four attempts, no wait above a window."""


def with_timeout(limits: Limits, seconds: float | None) -> Limits:
    """Return limits under which a connection may be silent for some seconds.

    What counts as stalled grows with it: a gateway that looks into a file before it hands it out
    is silent for a long time, and is meant to be waited for.

    Args:
        limits: The usual ones.
        seconds: Silence that is borne; None for the usual.
    """
    if seconds is None:
        return limits
    return replace(
        limits,
        connect_timeout=seconds,
        read_timeout=seconds,
        stall_window=max(limits.stall_window, 2 * seconds),
    )


def whole_seconds(limits: Limits, usual: float) -> float:
    """Return the time after which an answer has to be whole.

    Args:
        limits: How long a connection may be silent; what is borne beyond the usual is added.
        usual: Seconds that are enough for the usual limits.
    """
    return usual + 2 * max(0.0, limits.read_timeout - Limits().read_timeout)


def is_busy(status: int) -> bool:
    """Return whether a server may answer the same request better after a while.

    It will not where it does not know the method at all (501, RFC 9110).
    """
    return status in _BUSY or (status >= 500 and status != 501)


def wait_hint(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds a server asks to wait; None when it does not say.

    Args:
        headers: The answer's headers.
        now: The present time, with its zone.
    """
    limit = headers.get("RateLimit", "")
    remaining, reset = _REMAINING.search(limit), _RESET.search(limit)
    if reset is not None and remaining is not None and int(remaining[1]) == 0:
        return float(reset[1])
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:  # "-0000": no zone is known, and HTTP dates are in UTC
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


class Patience:
    """Counts the failed attempts of one piece of work; progress makes it start again."""

    def __init__(self, limits: Limits, most: int) -> None:
        """Start fresh.

        Args:
            limits: Times and what counts as progress.
            most: Failures in a row that are borne.
        """
        self._limits = limits
        self._most = most
        self.failures = 0
        """Failures since the last progress."""
        self._bytes = 0

    def progressed(self, amount: int) -> None:
        """Take note that ``amount`` bytes came."""
        self._bytes += amount
        if self._bytes >= self._limits.progress:
            self.failures = self._bytes = 0

    def failed(self) -> bool:
        """Count a failure; return whether there is patience for another attempt."""
        self.failures += 1
        return self.failures <= self._most

    def wait(self, hint: float | None) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            hint: What the server asks for; taken as it is, with a little jitter on top so
                that many clients do not come back in the same moment.
        """
        if hint is not None:
            return hint + random.uniform(0.0, min(1.0, self._limits.first_wait))  # noqa: S311
        longest = self._limits.first_wait * 2.0 ** min(self.failures - 1, 30)
        return random.uniform(0.5, 1.0) * min(longest, self._limits.longest_wait)  # noqa: S311
