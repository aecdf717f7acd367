"""Bring one range of a file, whatever happens on the way.

The offset only moves forward: after any failure the next request asks for what is still
missing, never again for what came. Every piece that has been written is handed to the
flusher, also when the range as a whole fails or the user interrupts.
"""

import logging
import time

from modelvault.errors import DownloadFailed, ModelVaultError, SourceUnreachable
from modelvault.sources.fetch.flusher import Flusher
from modelvault.sources.fetch.http.location import RangesIgnored, Stale, Stream
from modelvault.sources.fetch.http.segments import SegmentedFile
from modelvault.sources.fetch.http.small import SmallFile
from modelvault.sources.fetch.incoming import Segment
from modelvault.sources.net.body import CHUNK
from modelvault.sources.net.cancel import Watchdog
from modelvault.sources.net.failures import TransientFailure
from modelvault.sources.net.rate_limit import RateLimit
from modelvault.sources.net.retry import Limits, Patience
from modelvault.sources.net.urls import label_of

_log = logging.getLogger(__name__)

_PIECE = 1024 * 1024
"""Bytes after which the flusher is told; a kill costs about as much on each connection."""

_OFTEN = 0.05
"""Seconds after which it is told anyway, so that a kill costs little on slow lines, too."""

_AGAIN = "run the same command again: what came is kept"


class Transfer:
    """Fetches ranges of incoming files; one serves all workers."""

    def __init__(
        self, *, limits: Limits, flusher: Flusher, watchdog: Watchdog, rate_limit: RateLimit
    ) -> None:
        """Set up; nothing is sent yet.

        Args:
            limits: Where patience with servers ends.
            flusher: Makes what was written durable; running.
            watchdog: Cuts what stalls, and everything when the work is cancelled.
            rate_limit: Of all connections together.
        """
        self._limits = limits
        self._flusher = flusher
        self._watchdog = watchdog
        self._rate_limit = rate_limit

    def fetch(self, incoming: SegmentedFile | SmallFile, segment: Segment) -> None:
        """Bring one segment; nothing when another one has failed for good.

        Raises:
            RangesIgnored: The file has to be brought as one stream.
            Cancelled: Everything is being stopped.
            ModelVaultError: The segment is given up; see ``Location.open``.
        """
        patience = Patience(self._limits, self._limits.attempts)
        end = segment[1]
        while not incoming.failed and (offset := incoming.missing_from(segment)) < end:
            if incoming.whole:
                raise RangesIgnored
            try:
                self._pump(incoming, incoming.location.open(offset, end), patience, whole=False)
            except TransientFailure as failure:
                if not patience.failed():
                    raise self._given_up(incoming, failure) from failure
                self._again(incoming, failure, patience)
            except Stale as stale:
                incoming.retry("its location has to be looked up again")
                self._watchdog.sleep(stale.wait)

    def fetch_whole(self, incoming: SegmentedFile | SmallFile) -> None:
        """Bring everything that is missing, from streams that begin at the first byte.

        Raises:
            Cancelled: Everything is being stopped.
            ModelVaultError: The file is given up; see ``Location.open``.
        """
        patience = Patience(self._limits, self._limits.attempts)
        everything = (0, incoming.file.size)
        streams = 0
        while incoming.missing_from(everything) < incoming.file.size:
            try:
                stream = incoming.location.open(*everything, whole=True)
                streams += 1
                self._pump(incoming, stream, patience, whole=True)
            except TransientFailure as failure:
                if streams >= self._limits.streams or not patience.failed():
                    raise self._given_up(incoming, failure) from failure
                self._again(incoming, failure, patience)
            except Stale as stale:
                incoming.retry("its location has to be looked up again")
                self._watchdog.sleep(stale.wait)

    def _again(
        self, incoming: SegmentedFile | SmallFile, failure: TransientFailure, patience: Patience
    ) -> None:
        wait = patience.wait(failure.hint)
        path = incoming.file.path
        _log.info("%s: %s; attempt %d in %.1f s", path, failure.reason, patience.failures + 1, wait)
        incoming.retry(failure.reason)
        self._watchdog.sleep(wait)

    def _pump(
        self,
        incoming: SegmentedFile | SmallFile,
        stream: Stream,
        patience: Patience,
        *,
        whole: bool,
    ) -> None:
        offset = recorded = stream.start
        told = time.monotonic()
        try:
            with self._watchdog.watching(stream.body.socket):
                while offset < stream.end and not incoming.failed:
                    if incoming.whole and not whole:
                        raise RangesIgnored
                    most = self._rate_limit.take(
                        min(CHUNK, stream.end - offset), self._watchdog.sleep
                    )
                    data = stream.body.read(most)
                    self._rate_limit.give_back(most - len(data))
                    if not data:
                        raise TransientFailure("the answer ends early")
                    new = incoming.write(offset, data)  # also when stopping: it has come
                    offset += len(data)
                    patience.progressed(new)
                    incoming.location.progressed(new)
                    if offset - recorded >= _PIECE or time.monotonic() - told >= _OFTEN:
                        self._record(incoming, recorded, offset)
                        recorded, told = offset, time.monotonic()
                    self._watchdog.sleep(0.0)
        finally:
            stream.body.close()
            self._record(incoming, recorded, offset)

    def _record(self, incoming: SegmentedFile | SmallFile, start: int, end: int) -> None:
        if incoming.partial is not None:
            self._flusher.record(incoming.partial, start, end)

    def _given_up(
        self, incoming: SegmentedFile | SmallFile, failure: TransientFailure
    ) -> ModelVaultError:
        if failure.unreachable:
            return SourceUnreachable(
                f"{incoming.file.path}: {failure.reason} ({label_of(incoming.file.url)})",
                hint=f"check the network and the proxy settings, then {_AGAIN}",
            )
        return DownloadFailed(
            f"{incoming.file.path}: given up after several attempts; last, {failure.reason}",
            hint=_AGAIN,
        )
