"""How fast a file would come: fetch its beginning from the real location, and drop it.

The probe is one connection's, a few megabytes or a few seconds, whichever ends first. A
pull uses several connections, so that what is computed from it is rather too long.
"""

import time
from pathlib import Path

from modelvault.errors import SourceUnreachable
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.location import Location, RangesIgnored, Stale
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.net.cancel import Watchdog
from modelvault.sources.net.client import CHUNK, HttpClient, Trouble
from modelvault.sources.net.retry import MIB, Limits, Patience

PROBE_SIZE = 8 * MIB
"""Bytes fetched at most."""
PROBE_SECONDS = 3.0
"""Time after which no more is read."""

_ATTEMPTS = 3
_SHORTEST = 1e-6
"""Seconds that any probe counts as having taken, so that its rate is a number."""


def probe_speed(
    file: RemoteFile,
    *,
    token: str | None,
    ca_bundle: Path | None = None,
    most: int = PROBE_SIZE,
) -> Speed:
    """Fetch the first bytes of a file, measure, and keep nothing.

    Args:
        file: Any file that is not empty.
        token: For the file's own origin.
        ca_bundle: Certificates to believe; None for what the environment says.
        most: Bytes to fetch.

    Raises:
        SourceUnreachable: No bytes within a few attempts.
        FetchError: The Hub refuses, or offers something else than was pinned.
    """
    limits = Limits(attempts=_ATTEMPTS, relocations=_ATTEMPTS, read_timeout=PROBE_SECONDS)
    watchdog = Watchdog(stall_window=limits.stall_window, stall_bytes=limits.stall_bytes)
    client = HttpClient(
        token=token, connections=1, limits=limits, watchdog=watchdog, ca_bundle=ca_bundle
    )
    patience = Patience(limits, limits.attempts)
    location = Location(file, client, limits, ahead=False)
    wanted, whole = min(file.size, most), False
    try:
        while True:
            try:
                return _read(location, wanted, whole=whole)
            except RangesIgnored:
                whole = True
            except Stale as stale:
                watchdog.sleep(stale.wait)
            except Trouble as trouble:
                if not patience.failed():
                    raise SourceUnreachable(
                        f"{file.path}: its speed cannot be measured: {trouble.reason}",
                        hint="check the network and the proxy settings",
                    ) from trouble
                watchdog.sleep(min(patience.wait(trouble.hint), PROBE_SECONDS))
    finally:
        client.close()


def _read(location: Location, wanted: int, *, whole: bool) -> Speed:
    stream = location.open(0, wanted, whole=whole)
    began = time.monotonic()
    size = 0
    try:
        while size < wanted and time.monotonic() - began < PROBE_SECONDS:
            data = stream.body.read(min(CHUNK, wanted - size))
            if not data:
                break
            size += len(data)
    finally:
        stream.body.close()
    if not size:
        raise Trouble("the answer is empty")
    return Speed(size=size, seconds=max(time.monotonic() - began, _SHORTEST))
