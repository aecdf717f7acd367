"""The bytes of one answer, which another thread can cut off."""

import time
from typing import Final

import urllib3

from modelvault.sources.net.abortable import AbortableSocket
from modelvault.sources.net.failures import TransientFailure, translated

CHUNK: Final = 512 * 1024
"""Bytes read from a connection at once."""

SMALL: Final = 64 * 1024
"""Bytes from which an arrival is passed on at once."""

_SWEEP = 0.05
"""Seconds for which smaller arrivals are gathered."""


class Body:
    """The bytes of one answer."""

    def __init__(
        self, response: urllib3.BaseHTTPResponse, socket: AbortableSocket, *, decode: bool
    ) -> None:
        """Wrap a response whose body has not been read.

        Args:
            response: As it came from the pool.
            socket: What it comes over.
            decode: Whether to undo a ``Content-Encoding``; ranges cannot be decoded.
        """
        self._response = response
        self._decode = decode
        self._failure: TransientFailure | None = None
        self.socket = socket
        """What the bytes come over; cut it to make every read fail."""

    def read(self, limit: int = CHUNK) -> bytes:
        """Return the next bytes, at most ``limit``; empty at the end.

        Small arrivals (TLS records are 16 KiB) are gathered for a twentieth of a second, so
        that a fast connection costs few calls and a slow one still shows progress.

        Raises:
            TransientFailure: The connection broke, fell silent, or the body was aborted.
        """
        data = self._arrival(limit)
        if not data or len(data) >= min(limit, SMALL):
            return data
        parts, size = [data], len(data)
        until = time.monotonic() + _SWEEP
        while size < limit and time.monotonic() < until:
            try:
                data = self._arrival(limit - size)
            except TransientFailure as failure:
                self._failure = failure  # what came before counts; the next call raises it
                break
            if not data:
                break
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _arrival(self, limit: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            with translated(""):
                data = self._response.read1(limit, decode_content=self._decode)
        except TransientFailure as failure:
            if self.socket.aborted:
                raise TransientFailure("the connection stalled") from failure
            raise
        if self.socket.aborted:  # after a shutdown TLS may hand out undecrypted leftovers
            raise TransientFailure("the connection stalled")
        self.socket.received += len(data)
        return data

    def close(self) -> None:
        """Give the connection back if the body was read to its end; close it otherwise."""
        if self._response.closed and not self.socket.aborted:
            self._response.release_conn()
        else:
            self._response.close()
