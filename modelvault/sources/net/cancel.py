"""How transfers are stopped: all at once by the user or an error, one by one when stalled.

Example:
    >>> watch = Watch(stall_window=60.0, stall_bytes=65536)
    >>> watch.rest(0.0)
    >>> watch.stop()
    >>> watch.rest(0.0)
    Traceback (most recent call last):
    modelvault.sources.net.cancel.Stopped
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Protocol


class Stopped(Exception):
    """The download is being stopped; the worker that meets this just ends."""


class Abortable(Protocol):
    """What is watched: something that brings bytes and can be cut off."""

    received: int

    def abort(self) -> None:
        """Make its reader fail, from another thread."""


class Watch:
    """Knows every transfer under way; safe to use from any thread."""

    def __init__(self, *, stall_window: float, stall_bytes: int) -> None:
        """Start with nothing under way.

        Args:
            stall_window: Seconds after which a transfer is looked at again.
            stall_bytes: Bytes that it must have brought by then.
        """
        self._window = stall_window
        self._least = stall_bytes
        self._stopped = threading.Event()
        self._transfers: dict[Abortable, tuple[int, float]] = {}
        self._mutex = threading.Lock()

    @property
    def stopped(self) -> bool:
        """Whether everything is being stopped."""
        return self._stopped.is_set()

    def rest(self, seconds: float) -> None:
        """Sleep; zero only checks.

        Raises:
            Stopped: Everything is being stopped.
        """
        if self._stopped.is_set() or (seconds > 0 and self._stopped.wait(seconds)):
            raise Stopped

    @contextlib.contextmanager
    def over(self, transfer: Abortable) -> Iterator[None]:
        """Watch over a transfer for the block.

        Raises:
            Stopped: Everything is being stopped.
        """
        with self._mutex:
            self._transfers[transfer] = (transfer.received, time.monotonic())
        try:
            self.rest(0.0)
            yield
        finally:
            with self._mutex:
                del self._transfers[transfer]

    def stop(self) -> None:
        """Stop everything: abort what is under way, wake who sleeps."""
        self._stopped.set()
        with self._mutex:
            for transfer in self._transfers:
                transfer.abort()

    def cut_stalled(self) -> None:
        """Abort transfers that brought too little since they were looked at last."""
        now = time.monotonic()
        with self._mutex:
            for transfer, (before, since) in self._transfers.items():
                if now - since < self._window:
                    continue
                if transfer.received - before < self._least:
                    transfer.abort()
                self._transfers[transfer] = (transfer.received, now)
