"""What to do with each answer to a request for bytes: decisions, no network.

The rules, in the order in which they are applied to an answer:

* 206 with the range that was asked for (or its beginning) is taken.
* 200 is taken where no range was asked for; otherwise ranges are being ignored: the file
  is located once more, and if that does not help it comes as one whole stream.
* 408, 425, 429 and 5xx wait: as long as ``RateLimit`` or ``Retry-After`` say, else a
  jittered, doubling time.
* Any other status of a content URL means that it may have expired: locate the file once
  more, and let its home's own answer tell an expired URL from lost access.

Source: RFC 9110 (ranges).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from modelvault.sources.net.retry import is_busy

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class Verdict(Enum):
    """What to do with an answer to a request for bytes."""

    TAKE = auto()
    RANGE_IGNORED = auto()
    WAIT = auto()
    LOCATE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRange:
    """A ``Content-Range``: which bytes of how many an answer holds."""

    start: int
    end: int
    """First byte not in the answer."""
    total: int | None
    """Length of the whole file in bytes; None when the server does not say."""

    @classmethod
    def parse(cls, text: str | None) -> "ContentRange | None":
        """Return the range written in a header; None when there is none that makes sense."""
        match = _CONTENT_RANGE.fullmatch((text or "").strip())
        if match is None:
            return None
        start, end = int(match[1]), int(match[2]) + 1
        total = None if match[3] == "*" else int(match[3])
        if start >= end or (total is not None and end > total):
            return None
        return cls(start=start, end=end, total=total)


def judge(status: int, headers: Mapping[str, str], start: int | None) -> Verdict:
    """Return what to do with an answer.

    Args:
        status: HTTP status.
        headers: The answer's headers; looked up in their canonical spelling.
        start: First byte of the range that was asked for; None when no range was.
    """
    if is_busy(status):
        return Verdict.WAIT
    if status == 200:
        return Verdict.TAKE if start is None else Verdict.RANGE_IGNORED
    if status == 206 and start is not None:
        found = ContentRange.parse(headers.get("Content-Range"))
        encoded = headers.get("Content-Encoding", "identity") != "identity"
        fits = found is not None and found.start == start and not encoded
        return Verdict.TAKE if fits else Verdict.RANGE_IGNORED
    return Verdict.LOCATE
