"""Bring one range of a file, whatever happens on the way.

The offset only moves forward: after any trouble the next request asks for what is still
missing, never again for what came. Every piece that has been written is offered to the
flusher, also when the range as a whole fails or the user interrupts.
"""

import time

from modelvault.errors import DownloadFailed, HubUnreachable, ModelVaultError
from modelvault.sources.fetch.flusher import Flusher
from modelvault.sources.fetch.http.location import RangesIgnored, Stale, Stream
from modelvault.sources.fetch.http.segments import Task
from modelvault.sources.fetch.http.small import SmallTask
from modelvault.sources.fetch.incoming import Segment
from modelvault.sources.net.cancel import Watch
from modelvault.sources.net.client import CHUNK, Trouble
from modelvault.sources.net.rate_limit import Pace
from modelvault.sources.net.retry import Limits, Patience
from modelvault.sources.net.urls import label_of

_PIECE = 1024 * 1024
"""Bytes after which the flusher is told; a kill costs about as much on each connection."""

_OFTEN = 0.05
"""Seconds after which it is told anyway, so that a kill costs little on slow lines, too."""

_AGAIN = "run the same command again: what came is kept"


class Transfer:
    """Fetches ranges of tasks; one serves all workers."""

    def __init__(self, *, limits: Limits, flusher: Flusher, watch: Watch, pace: Pace) -> None:
        """Use these."""
        self._limits = limits
        self._flusher = flusher
        self._watch = watch
        self._pace = pace

    def fetch(self, task: Task | SmallTask, segment: Segment) -> None:
        """Bring one segment; nothing when another one has failed for good.

        Raises:
            RangesIgnored: The task has to be brought as one stream.
            Stopped: Everything is being stopped.
            ModelVaultError: The segment is given up; see ``Route.open``.
        """
        patience = Patience(self._limits, self._limits.attempts)
        end = segment[1]
        while not task.failed and (offset := task.missing_from(segment)) < end:
            if task.whole:
                raise RangesIgnored
            try:
                self._pump(task, task.route.open(offset, end), patience, whole=False)
            except Trouble as trouble:
                if not patience.failed():
                    raise self._given_up(task, trouble) from trouble
                task.retry(trouble.reason)
                self._watch.rest(patience.wait(trouble.hint))
            except Stale as stale:
                task.retry("its location has to be looked up again")
                self._watch.rest(stale.wait)

    def fetch_whole(self, task: Task | SmallTask) -> None:
        """Bring everything that is missing, from streams that begin at the first byte.

        Raises:
            Stopped: Everything is being stopped.
            ModelVaultError: The file is given up; see ``Route.open``.
        """
        patience = Patience(self._limits, self._limits.attempts)
        everything = (0, task.file.size)
        streams = 0
        while task.missing_from(everything) < task.file.size:
            try:
                stream = task.route.open(*everything, whole=True)
                streams += 1
                self._pump(task, stream, patience, whole=True)
            except Trouble as trouble:
                if streams >= self._limits.streams or not patience.failed():
                    raise self._given_up(task, trouble) from trouble
                task.retry(trouble.reason)
                self._watch.rest(patience.wait(trouble.hint))
            except Stale as stale:
                task.retry("its location has to be looked up again")
                self._watch.rest(stale.wait)

    def _pump(
        self, task: Task | SmallTask, stream: Stream, patience: Patience, *, whole: bool
    ) -> None:
        offset = offered = stream.start
        told = time.monotonic()
        try:
            with self._watch.over(stream.body.wire):
                while offset < stream.end and not task.failed:
                    if task.whole and not whole:
                        raise RangesIgnored
                    most = self._pace.take(min(CHUNK, stream.end - offset), self._watch.rest)
                    data = stream.body.read(most)
                    self._pace.give_back(most - len(data))
                    if not data:
                        raise Trouble("the answer ends early")
                    new = task.write(offset, data)  # also when stopping: it has come
                    offset += len(data)
                    patience.progressed(new)
                    task.route.progressed(new)
                    if offset - offered >= _PIECE or time.monotonic() - told >= _OFTEN:
                        self._offer(task, offered, offset)
                        offered, told = offset, time.monotonic()
                    self._watch.rest(0.0)
        finally:
            stream.body.close()
            self._offer(task, offered, offset)

    def _offer(self, task: Task | SmallTask, start: int, end: int) -> None:
        if task.partial is not None:
            self._flusher.offer(task.partial, start, end)

    def _given_up(self, task: Task | SmallTask, trouble: Trouble) -> ModelVaultError:
        if trouble.unreachable:
            return HubUnreachable(
                f"{task.file.path}: {trouble.reason} ({label_of(task.file.url)})",
                hint=f"check the network and the proxy settings, then {_AGAIN}",
            )
        return DownloadFailed(
            f"{task.file.path}: given up after several attempts; last, {trouble.reason}",
            hint=_AGAIN,
        )
