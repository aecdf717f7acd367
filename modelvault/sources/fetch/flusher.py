"""Make what has arrived durable, on a thread of its own, while the network goes on.

The flusher takes everything that was handed over since it last looked, flushes each partial
once, and only then lets its journal vouch for the ranges. A writer that hands over more than the
disk takes has to wait: what a kill can cost is bounded by the backlog, and so is the time
that a flush takes when the user interrupts.
"""

import threading
from typing import Self

from modelvault.store.partials import Partial


class Flusher:
    """A thread that records ranges of partials; use it in a ``with`` block."""

    def __init__(self, *, backlog: int) -> None:
        """Start idle.

        Args:
            backlog: Bytes that may be handed over and not durable yet.
        """
        self._backlog = backlog
        self._waiting: dict[Partial, list[tuple[int, int]]] = {}
        self._busy: set[Partial] = set()
        self._bytes = 0
        self._hurried = self._ending = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Record what was handed over, then end the thread."""
        with self._changed:
            self._hurried = self._ending = True
            self._changed.notify_all()
        self._thread.join()

    def hurry(self) -> None:
        """Go on taking what is handed over, but make no writer wait any more."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def record(self, partial: Partial, start: int, end: int) -> None:
        """Ask for a range to be made durable; waits while the backlog is full.

        Raises:
            StorageError: An earlier range could not be made durable.
        """
        if start >= end:
            return
        with self._changed:
            while self._bytes >= self._backlog and not self._hurried and self._failure is None:
                self._changed.wait()
            self._raise_failure()
            self._waiting.setdefault(partial, []).append((start, end))
            self._bytes += end - start
            self._changed.notify_all()

    def settle(self, partial: Partial) -> None:
        """Wait until everything that was handed over of a partial is recorded.

        Raises:
            StorageError: It could not be made durable.
        """
        with self._changed:
            while (partial in self._waiting or partial in self._busy) and self._failure is None:
                self._changed.wait()
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch, self._waiting = self._waiting, {}
                self._busy = set(batch)
            try:
                for partial, ranges in batch.items():
                    self._record(partial, ranges)
            except BaseException as error:  # raised again by the writer that comes or waits next
                with self._changed:
                    self._failure = error
                    self._busy, self._waiting = set(), {}
                    self._changed.notify_all()
                return

    def _record(self, partial: Partial, ranges: list[tuple[int, int]]) -> None:
        partial.record_all(ranges)
        with self._changed:
            self._busy.discard(partial)
            self._bytes -= sum(end - start for start, end in ranges)
            self._changed.notify_all()
