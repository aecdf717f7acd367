"""The workers of one download: who fetches what, who stops, what went wrong.

One budget of connections serves files and segments alike. A free worker first takes the
next segment of a file that is already open; only when there is none it opens the next
file, smallest first. The worker that brings the last byte of a file also checks and publishes it.

The thread that called ``run`` fetches nothing: it waits, cuts transfers that stall, and is
thereby free to notice the user's interrupt. A worker that is stuck in a connection attempt
then is left behind; it closes its file when it comes back.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.errors import (
    Corruption,
    DigestMismatch,
    DownloadFailed,
    Interrupted,
    ModelVaultError,
    VaultBusy,
)
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.flusher import Flusher
from modelvault.sources.fetch.http.location import Location, RangesIgnored
from modelvault.sources.fetch.http.order import Order, Waiting
from modelvault.sources.fetch.http.segments import SegmentedFile
from modelvault.sources.fetch.http.small import LARGEST as SMALL
from modelvault.sources.fetch.http.small import SmallFile
from modelvault.sources.fetch.http.transfer import Transfer
from modelvault.sources.fetch.incoming import Segment
from modelvault.sources.fetch.stored import stored_digest
from modelvault.sources.net.cancel import Cancelled, Watchdog
from modelvault.sources.net.client import HttpClient
from modelvault.sources.net.rate_limit import RateLimit

_log = logging.getLogger(__name__)

_TICK = 0.25
"""Seconds between two looks at the transfers."""

_GRACE = 0.6
"""Seconds that workers get to end when everything is being stopped."""

_ATTEMPTS = 2
"""Times that a file is fetched whose bytes turn out to be wrong."""


class Workers:
    """Fetches a list of files, once."""

    def __init__(self, order: Order, files: Iterable[RemoteFile]) -> None:
        """Line up the files, smallest first.

        Args:
            order: How to work.
            files: What to fetch; no two with the same content.
        """
        self._order = order
        self._began = time.monotonic()
        self._deadline = self._began + order.patience
        ordered = sorted(files, key=lambda file: (file.size, file.path))
        self._files = deque(Waiting(file=file, deadline=self._deadline) for file in ordered)
        self._opened: dict[SegmentedFile | SmallFile, int] = {}
        """Open files, with how many times each was begun."""
        self._opening = self._running = 0
        self._closed = False
        self._digests: dict[str, Digest] = {}
        self._errors: list[ModelVaultError] = []
        self._fatal: BaseException | None = None
        self._changed = threading.Condition()
        connection, limits = order.connection, order.connection.limits
        rate_limit = RateLimit(connection.rate)
        self._watchdog = Watchdog(
            stall_window=limits.stall_window,
            stall_bytes=rate_limit.least(
                limits.stall_window, connection.connections, limits.stall_bytes
            ),
        )
        self._flusher = Flusher(backlog=connection.connections * order.segment * 3 // 4)
        self._transfer = Transfer(
            limits=limits, flusher=self._flusher, watchdog=self._watchdog, rate_limit=rate_limit
        )
        self._client = HttpClient(connection, self._watchdog)

    def run(self) -> dict[str, Digest]:
        """Fetch everything; return key → digest of each file.

        Raises:
            KeyboardInterrupt: The user stopped it; what came is kept.
            FetchError: A file could not be fetched; what came is kept.
            Corruption: A file is not what was declared, twice.
            StorageError: The disk is full or refuses.
        """
        workers = [
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True)
            for number in range(self._order.connection.connections)
        ]
        self._running = len(workers)
        with contextlib.ExitStack() as stack:
            stack.callback(self._client.close)
            stack.callback(self._close_opened)
            stack.enter_context(self._flusher)
            stack.callback(self._wind_up, workers)
            for worker in workers:
                worker.start()
            with self._changed:
                while self._running and not self._watchdog.cancelled:
                    self._changed.wait(_TICK)
                    self._watchdog.cut_stalled()
        _log.debug(
            "%d files over HTTP in %.2f s", len(self._digests), time.monotonic() - self._began
        )
        self._raise_errors()
        return self._digests

    # -- beginning and end, in the caller's thread

    def _wind_up(self, workers: list[threading.Thread]) -> None:
        """End the workers, wherever they are; leave behind who does not come."""
        self._watchdog.cancel()
        self._flusher.hurry()
        with self._changed:
            opened = list(self._opened)
            self._changed.notify_all()
        for incoming in opened:
            incoming.stop()
        until = time.monotonic() + _GRACE
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, until - time.monotonic()))

    def _close_opened(self) -> None:
        with self._changed:
            self._closed = True
            idle = [incoming for incoming in self._opened if incoming.active == 0]
            for incoming in idle:
                del self._opened[incoming]
        for incoming in idle:
            incoming.end()

    def _raise_errors(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            first = self._errors[0]
            raise type(first)(
                f"{len(self._errors)} files could not be fetched",
                hint=first.hint,
                issues=[error.message for error in self._errors],
            ) from first

    # -- the workers

    def _work(self) -> None:
        try:
            while (job := self._next_job()) is not None:
                job()
        except (Cancelled, Interrupted):
            pass  # the thread that cancelled knows why
        except BaseException as error:  # raised again by the caller's thread
            with self._changed:
                self._fatal = self._fatal or error
            self._watchdog.cancel()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            while True:
                self._watchdog.sleep(0.0)
                for incoming in self._opened:
                    if incoming.segments and not (incoming.whole and incoming.active):
                        incoming.active += 1
                        return partial(self._fetch, incoming, incoming.segments.popleft())
                now = time.monotonic()
                for waiting in self._files:
                    if waiting.not_before <= now:
                        self._files.remove(waiting)
                        self._opening += 1
                        return partial(self._open, waiting)
                if not (self._files or self._opened or self._opening):
                    return None
                self._changed.wait(_TICK)

    def _open(self, waiting: Waiting) -> None:
        incoming: SegmentedFile | SmallFile | None = None
        try:
            if self._is_stored(waiting.file):
                waiting.show(self._order.progress, waits=False)
            else:
                incoming = self._make_incoming(waiting)
        finally:
            with self._changed:
                self._opening -= 1
                if incoming is not None:
                    self._opened[incoming] = waiting.attempt
                    incoming.active += 1
                self._changed.notify_all()
        if incoming is not None:
            self._leave(incoming)

    def _is_stored(self, file: RemoteFile) -> bool:
        """Ask again, right before a file is opened: another process may have brought it."""
        digest = stored_digest(file, self._order.store)
        if digest is None:
            return False
        with self._changed:
            self._digests[file.key] = digest
        return True

    def _make_incoming(self, waiting: Waiting) -> SegmentedFile | SmallFile | None:
        order, file = self._order, waiting.file
        location = Location(
            file, self._client, order.connection.limits, ahead=file.size > order.segment
        )
        if self._is_small(file):
            return SmallFile(file, location, order.store, order.progress)
        try:
            incoming = SegmentedFile(
                file, location, order.store, order.progress, segment=order.segment
            )
        except VaultBusy:
            if time.monotonic() > waiting.deadline:
                waiting.show(order.progress, waits=False)
                raise
            waiting.show(order.progress, waits=True)
            waiting.not_before = time.monotonic() + _TICK
            with self._changed:
                self._files.append(waiting)
            return None
        waiting.show(order.progress, waits=False)
        if self._is_stored(file):  # another process was faster
            incoming.partial.discard()
            incoming.end(note="already in the vault")
            return None
        return incoming

    def _is_small(self, file: RemoteFile) -> bool:
        """Return whether a file comes in memory: one request's worth, nothing of it on disk."""
        if file.size > min(SMALL, self._order.segment):
            return False
        return not fsio.stands(self._order.store.partials / file.key)

    def _fetch(self, incoming: SegmentedFile | SmallFile, segment: Segment) -> None:
        try:
            if incoming.whole:
                self._transfer.fetch_whole(incoming)
            else:
                self._transfer.fetch(incoming, segment)
        except RangesIgnored:
            with self._changed:
                if not incoming.whole:
                    incoming.whole = True
                    incoming.segments = deque([(0, incoming.file.size)])
        except (DownloadFailed, Corruption) as error:  # the other files may fare better
            with self._changed:
                if not incoming.failed:
                    self._errors.append(error)
                incoming.failed = True
                incoming.segments.clear()
        except BaseException:
            incoming.failed = True
            raise
        finally:
            self._leave(incoming)

    def _leave(self, incoming: SegmentedFile | SmallFile) -> None:
        """Take note that a worker is done with a file; the last one finishes it."""
        with self._changed:
            incoming.active -= 1
            idle = incoming.active == 0
            finished = idle and not incoming.segments and not self._watchdog.cancelled
            closing = (finished and incoming.failed) or (idle and self._closed)
            if closing:
                del self._opened[incoming]
            elif finished:
                incoming.active += 1
            self._changed.notify_all()
        if closing:
            incoming.end(note="given up, what came is kept")
        elif finished:
            self._finish(incoming)

    def _finish(self, incoming: SegmentedFile | SmallFile) -> None:
        note = ""
        try:
            if incoming.partial is not None:
                self._flusher.settle(incoming.partial)
            digest = incoming.publish()
            _log.debug("%s: published as %s", incoming.file.path, digest.short)
            with self._changed:
                self._digests[incoming.file.key] = digest
        except DigestMismatch as error:
            note = "the bytes are wrong"
            _log.info("%s", error.message)
            with self._changed:
                attempt = self._opened[incoming]
                if attempt < _ATTEMPTS:
                    self._files.appendleft(
                        Waiting(file=incoming.file, attempt=attempt + 1, deadline=self._deadline)
                    )
                else:
                    self._errors.append(error)
        finally:
            with self._changed:
                del self._opened[incoming]
                self._changed.notify_all()
            incoming.end(note=note)
