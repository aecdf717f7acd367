"""How fast a file would come: fetch its beginning by the real route, and drop it.

The sample is one connection's, a few megabytes or a few seconds, whichever ends first. A
pull uses several connections, so that what is computed from it is rather too long.
"""

import time
from pathlib import Path

from modelvault.errors import HubUnreachable
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.location import RangesIgnored, Route, Stale
from modelvault.sources.net.cancel import Watch
from modelvault.sources.net.client import CHUNK, Transport, Trouble
from modelvault.sources.net.retry import MIB, Limits, Patience
from modelvault.sources.source import Sample

SAMPLE_SIZE = 8 * MIB
"""Bytes fetched at most."""
SAMPLE_SECONDS = 3.0
"""Time after which no more is read."""

_ATTEMPTS = 3
_SHORTEST = 1e-6
"""Seconds that any sample counts as having taken, so that its rate is a number."""


def take_sample(
    file: RemoteFile,
    *,
    token: str | None,
    ca_bundle: Path | None = None,
    most: int = SAMPLE_SIZE,
) -> Sample:
    """Fetch the first bytes of a file, measure, and keep nothing.

    Args:
        file: Any file that is not empty.
        token: For the file's own origin.
        ca_bundle: Certificates to believe; None for what the environment says.
        most: Bytes to fetch.

    Raises:
        HubUnreachable: No bytes within a few attempts.
        FetchError: The Hub refuses, or offers something else than was pinned.
    """
    limits = Limits(attempts=_ATTEMPTS, relocations=_ATTEMPTS, read_timeout=SAMPLE_SECONDS)
    watch = Watch(stall_window=limits.stall_window, stall_bytes=limits.stall_bytes)
    transport = Transport(
        token=token, connections=1, limits=limits, watch=watch, ca_bundle=ca_bundle
    )
    patience = Patience(limits, limits.attempts)
    route = Route(file, transport, limits, ahead=False)
    wanted, whole = min(file.size, most), False
    try:
        while True:
            try:
                return _read(route, wanted, whole=whole)
            except RangesIgnored:
                whole = True
            except Stale as stale:
                watch.rest(stale.wait)
            except Trouble as trouble:
                if not patience.failed():
                    raise HubUnreachable(
                        f"{file.path}: no sample could be fetched: {trouble.reason}",
                        hint="check the network and the proxy settings",
                    ) from trouble
                watch.rest(min(patience.wait(trouble.hint), SAMPLE_SECONDS))
    finally:
        transport.close()


def _read(route: Route, wanted: int, *, whole: bool) -> Sample:
    stream = route.open(0, wanted, whole=whole)
    began = time.monotonic()
    size = 0
    try:
        while size < wanted and time.monotonic() - began < SAMPLE_SECONDS:
            data = stream.body.read(min(CHUNK, wanted - size))
            if not data:
                break
            size += len(data)
    finally:
        stream.body.close()
    if not size:
        raise Trouble("the answer is empty")
    return Sample(size=size, seconds=max(time.monotonic() - began, _SHORTEST))
