"""Parts of remote files, read where they are: headers, without the gigabytes behind them.

An excerpt reads like an open file. It asks for a window at a time, keeps it, and drops it for the
next; what all excerpts of one reader fetch is bounded together, so that looking at a model costs a
few megabytes whatever its size, and whatever its headers claim.

Example:
    >>> with Excerpts(connection, most=5_000_000) as excerpts:     # doctest: +SKIP
    ...     header = read_header(excerpts.open(file), file.size)
"""

import contextlib
import dataclasses
import io
import threading
from typing import Self

from modelvault.errors import SourceUnreachable
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.location import Location, RangesIgnored, Stale
from modelvault.sources.fetch.spent import ExcerptsSpent
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.failures import TransientFailure
from modelvault.sources.net.questions import Questions
from modelvault.sources.net.retry import QUESTION_LIMITS, Patience

WINDOW = 16 * 1024
"""Bytes that are asked for at least: the header of a shard, mostly."""
SECONDS = 60.0
"""Whole time of one window, its attempts and waits included."""
_CHUNK = 64 * 1024


class Excerpts:
    """Opens remote files for reading in parts; use it in a ``with`` block, from any thread."""

    def __init__(self, connection: Connection, *, most: int) -> None:
        """Fetch nothing yet.

        Args:
            connection: How the server is spoken to.
            most: Bytes that are fetched at most, all files together.
        """
        self._connection = dataclasses.replace(connection, limits=QUESTION_LIMITS)
        self._questions = Questions(self._connection)
        self._mutex = threading.Lock()
        self._left = most
        self.fetched = 0
        """Bytes that came, so far."""

    def __enter__(self) -> Self:
        """Start to watch over what is asked."""
        self._questions.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Close idle connections."""
        self._questions.__exit__()

    def open(self, file: RemoteFile) -> "Excerpt":
        """Return a file as one that is read in parts; nothing is asked yet."""
        return Excerpt(self, file)

    def fetch(self, file: RemoteFile, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` to before ``end``.

        Raises:
            ExcerptsSpent: More than may be fetched.
            SourceUnreachable: No bytes within the attempts, or within the time.
            FetchError: The server refuses, or offers something else than was pinned.
        """
        self._reserve(end - start)
        limits = self._connection.limits
        patience = Patience(limits, limits.attempts)
        location = Location(file, self._questions.client(SECONDS), limits, ahead=False)
        whole = False
        while True:
            try:
                return self._read(location, start, end, whole=whole)
            except RangesIgnored:
                self._reserve(start)  # what stands before it comes along
                whole = True
            except Stale as stale:
                self._questions.sleep(stale.wait)
            except TransientFailure as failure:
                if not patience.failed():
                    raise SourceUnreachable(
                        f"{file.path}: its header cannot be read: {failure.reason}",
                        hint="check the network and the proxy settings, then run it again",
                    ) from failure
                self._questions.sleep(patience.wait(failure.hint))

    def _read(self, location: Location, start: int, end: int, *, whole: bool) -> bytes:
        stream = location.open(start, end, whole=whole)
        parts: list[bytes] = []
        at = stream.start
        with contextlib.closing(stream.body), self._questions.watching(stream.body.socket):
            while at < end:
                data = stream.body.read(min(_CHUNK, end - at))
                if not data:
                    raise TransientFailure("the answer ended early")
                parts.append(data[max(0, start - at) :])
                at += len(data)
                self._count(len(data))
        return b"".join(parts)

    def _reserve(self, amount: int) -> None:
        with self._mutex:
            if amount > self._left:
                raise ExcerptsSpent
            self._left -= amount

    def _count(self, amount: int) -> None:
        with self._mutex:
            self.fetched += amount


class Excerpt(io.RawIOBase):
    """One remote file, read from its beginning on."""

    def __init__(self, excerpts: Excerpts, file: RemoteFile) -> None:
        """Stand at the beginning; ``Excerpts.open`` makes them."""
        super().__init__()
        self._excerpts = excerpts
        self._file = file
        self._position = 0
        self._window = b""
        self._start = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, fewer only at the end of the file.

        Raises:
            ExcerptsSpent: More than may be fetched.
            FetchError: They cannot be had.
        """
        left = self._file.size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        offset = self._position - self._start
        if offset + wanted > len(self._window):
            kept = self._window[offset:]
            at = self._position + len(kept)
            end = min(at + max(wanted - len(kept), WINDOW), self._file.size)
            self._window = kept + self._excerpts.fetch(self._file, at, end)
            self._start, offset = self._position, 0
        self._position += wanted
        return self._window[offset : offset + wanted]
