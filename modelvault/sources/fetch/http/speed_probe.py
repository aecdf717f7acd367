"""How fast a file would come: fetch its beginning from the real location, and drop it.

The probe is one connection's, a few megabytes or a few seconds, whichever ends first. A
pull uses several connections, so that what is computed from it is rather too long.
"""

import contextlib
import dataclasses
import time

from modelvault.errors import SourceUnreachable
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.location import Location, RangesIgnored, Stale
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.net.body import CHUNK
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.failures import TransientFailure
from modelvault.sources.net.questions import Questions
from modelvault.sources.net.retry import MIB, Patience

PROBE_SIZE = 8 * MIB
"""Bytes fetched at most."""
PROBE_SECONDS = 3.0
"""Time after which no more is read."""
WHOLE_SECONDS = 20.0
"""Whole time of a probe, its attempts and waits included."""

_ATTEMPTS = 3
_SHORTEST = 1e-6
"""Seconds that any probe counts as having taken, so that its rate is a number."""


def probe_speed(file: RemoteFile, connection: Connection, *, most: int = PROBE_SIZE) -> Speed:
    """Fetch the first bytes of a file, measure, and keep nothing.

    Args:
        file: Any file that is not empty.
        connection: Token and certificates.
        most: Bytes to fetch.

    Raises:
        SourceUnreachable: No bytes within a few attempts, or within the time.
        FetchError: The server refuses, or offers something else than was pinned.
    """
    limits = dataclasses.replace(
        connection.limits,
        attempts=_ATTEMPTS,
        relocations=_ATTEMPTS,
        read_timeout=min(PROBE_SECONDS, connection.limits.read_timeout),
    )
    patience = Patience(limits, limits.attempts)
    wanted, whole = min(file.size, most), False
    with Questions(dataclasses.replace(connection, connections=1, limits=limits)) as questions:
        location = Location(file, questions.client(WHOLE_SECONDS), limits, ahead=False)
        while True:
            try:
                return _read(location, wanted, questions, whole=whole)
            except RangesIgnored:
                whole = True
            except Stale as stale:
                questions.sleep(stale.wait)
            except TransientFailure as failure:
                if not patience.failed():
                    raise SourceUnreachable(
                        f"{file.path}: its speed cannot be measured: {failure.reason}",
                        hint="check the network and the proxy settings",
                    ) from failure
                questions.sleep(min(patience.wait(failure.hint), PROBE_SECONDS))


def _read(location: Location, wanted: int, questions: Questions, *, whole: bool) -> Speed:
    stream = location.open(0, wanted, whole=whole)
    began = time.monotonic()
    size = 0
    with contextlib.closing(stream.body), questions.watching(stream.body.socket):
        while size < wanted and time.monotonic() - began < PROBE_SECONDS:
            data = stream.body.read(min(CHUNK, wanted - size))
            if not data:
                break
            size += len(data)
    if not size:
        raise TransientFailure("the answer is empty")
    return Speed(size=size, seconds=max(time.monotonic() - began, _SHORTEST))
