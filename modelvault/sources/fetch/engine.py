"""What an engine is: something that brings the bytes of one remote file into a partial.

An engine decides nothing else. Locks, journals, hashing, checks, quarantine and publication
are the same for all (``incoming`` and ``delivery``), and whatever an engine cannot bring, our
own HTTP does: it goes on from the same partial.
"""

import time
from pathlib import Path
from typing import Protocol

from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.flusher import Flusher
from modelvault.sources.fetch.incoming import IncomingFile, Segment

_PIECE = 8 * 1024 * 1024
"""Bytes after which the flusher is told; a kill costs about as much."""

_OFTEN = 2.0
"""Seconds after which it is told anyway, so that a kill costs little on slow lines, too."""


class EngineFailed(Exception):
    """An engine gives a file up; HTTP goes on with what came. The text says why."""


class Inlet:
    """Where an engine puts the bytes of one file; used by one thread."""

    def __init__(self, incoming: IncomingFile, flusher: Flusher) -> None:
        """Lead into an open partial.

        Args:
            incoming: The partial, its hasher and its progress.
            flusher: Makes what was written durable; running.
        """
        self._incoming = incoming
        self._flusher = flusher
        self._recorded = self._reached = 0
        self._told = time.monotonic()
        self._reported = 0

    @property
    def path(self) -> Path:
        """The partial's data file, for an engine that writes it itself."""
        return self._incoming.partial.path

    def gaps(self) -> list[Segment]:
        """Return the ranges that are still to come, in order."""
        return self._incoming.gaps()

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes; what was there already is left as it is.

        Raises:
            StorageError: The file system refuses.
        """
        if offset != self._reached:
            self.settle()
            self._recorded = self._reached = offset
        self._incoming.write(offset, data)
        self._reached += len(data)
        now = time.monotonic()
        if self._reached - self._recorded >= _PIECE or now - self._told >= _OFTEN:
            self.settle()

    def report(self, amount: int) -> None:
        """Report bytes that the engine says it wrote into the data file itself."""
        left = self._incoming.file.size - self._reported
        amount = min(amount, left)  # the engine's own count may be off
        if amount > 0:
            self._reported += amount
            self._incoming.advance(amount)

    def filled(self) -> None:
        """Take note that the engine has written the whole data file itself.

        Raises:
            StorageError: It cannot be made durable.
        """
        size = self._incoming.file.size
        self._flusher.record(self._incoming.partial, 0, size)
        self._incoming.take_note(0, size)
        self.report(size)

    def settle(self) -> None:
        """Have what was written made durable.

        Raises:
            StorageError: Something could not be.
        """
        start, self._recorded, self._told = self._recorded, self._reached, time.monotonic()
        self._flusher.record(self._incoming.partial, start, self._reached)


class Engine(Protocol):
    """Brings bytes; ``XetEngine`` and ``HfTransferEngine`` are the real ones."""

    @property
    def name(self) -> str:
        """How the command line and messages call it."""

    def suits(self, file: RemoteFile) -> bool:
        """Return whether it may be asked for this file at all."""

    def bring(self, file: RemoteFile, inlet: Inlet) -> None:
        """Bring everything that the inlet lacks.

        What it leaves behind when it fails is either vouched for by the inlet, or is not
        written to any more.

        Raises:
            EngineFailed: It cannot, or not now; what came is kept.
            StorageError: The file system refuses.
        """
