"""How transfers are cancelled: all at once by the user or an error, one by one when stalled.

Example:
    >>> watchdog = Watchdog(stall_window=60.0, stall_bytes=65536)
    >>> watchdog.sleep(0.0)
    >>> watchdog.cancel()
    >>> watchdog.sleep(0.0)
    Traceback (most recent call last):
    modelvault.sources.net.cancel.Cancelled
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Protocol


class Cancelled(Exception):
    """The work is being cancelled; the thread that meets this just ends."""


class Abortable(Protocol):
    """What is watched: something that brings bytes and can be cut off."""

    received: int
    ends: float
    """Moment (``time.monotonic``) after which it is cut, however much it brings."""

    def abort(self) -> None:
        """Make its reader fail, from another thread."""


class Watchdog:
    """Knows every transfer under way; safe to use from any thread."""

    def __init__(self, *, stall_window: float, stall_bytes: int) -> None:
        """Start with nothing under way.

        Args:
            stall_window: Seconds after which a transfer is looked at again.
            stall_bytes: Bytes that it must have brought by then.
        """
        self._window = stall_window
        self._least = stall_bytes
        self._cancelled = threading.Event()
        self._transfers: dict[Abortable, tuple[int, float]] = {}
        self._mutex = threading.Lock()

    @property
    def cancelled(self) -> bool:
        """Whether everything is being cancelled."""
        return self._cancelled.is_set()

    def sleep(self, seconds: float) -> None:
        """Sleep; zero only checks.

        Raises:
            Cancelled: Everything is being cancelled.
        """
        if self._cancelled.is_set() or (seconds > 0 and self._cancelled.wait(seconds)):
            raise Cancelled

    @contextlib.contextmanager
    def watching(self, transfer: Abortable) -> Iterator[None]:
        """Watch over a transfer for the block.

        Raises:
            Cancelled: Everything is being cancelled.
        """
        with self._mutex:
            self._transfers[transfer] = (transfer.received, time.monotonic())
        try:
            self.sleep(0.0)
            yield
        finally:
            with self._mutex:
                del self._transfers[transfer]

    def cancel(self) -> None:
        """Cancel everything: abort what is under way, wake who sleeps."""
        self._cancelled.set()
        with self._mutex:
            for transfer in self._transfers:
                transfer.abort()

    def cut_stalled(self) -> None:
        """Abort transfers whose time is over, or that brought too little of late."""
        now = time.monotonic()
        with self._mutex:
            for transfer, (before, since) in self._transfers.items():
                if now >= transfer.ends:
                    transfer.abort()
                if now - since < self._window:
                    continue
                if transfer.received - before < self._least:
                    transfer.abort()
                self._transfers[transfer] = (transfer.received, now)
