"""The socket below a request, so that another thread can cut it at any stage.

urllib3 offers a way to shut down a response, but none while a connection is being made or
while the headers drip in. The connection classes here tell the requesting thread's
``AbortableSocket`` which one they use.
"""

import contextlib
import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

_current = threading.local()


class AbortableSocket:
    """What one request goes over; cut it with ``abort`` from any thread."""

    def __init__(self, *, ends: float = math.inf) -> None:
        """Know no socket yet.

        Args:
            ends: Moment (``time.monotonic``) after which it is cut, however much it brings.
        """
        self.ends = ends
        self.received = 0
        """Bytes of the body read so far."""
        self.aborted = False
        self._connection: HTTPConnection | None = None
        self._socket: Any = None

    def abort(self) -> None:
        """Make the reader's current and every later read fail."""
        self.aborted = True
        shut_down(self._socket or getattr(self._connection, "sock", None))

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Let connections used by this thread in the block tell their socket."""
        _current.socket = self
        try:
            yield
        finally:
            _current.socket = None

    def connecting(self, connection: HTTPConnection) -> None:
        """Take note of a connection whose socket is about to be made."""
        self._connection = connection

    def connected(self, connection: HTTPConnection) -> None:
        """Take note of the socket that the answer will come from."""
        self._socket = connection.sock


def shut_down(found: Any) -> None:
    """Make every read of a socket end, from another thread; do nothing for no socket.

    Args:
        found: A socket, a TLS layer over one, or None.
    """
    if not isinstance(found, socket.socket):
        found = getattr(found, "socket", None)  # TLS inside TLS wraps the plain one
    if isinstance(found, socket.socket):
        with contextlib.suppress(OSError):
            # Below any TLS layer: its own shutdown would let the reader take what is
            # still encrypted for plain bytes.
            socket.socket.shutdown(found, socket.SHUT_RDWR)


def _requesting() -> AbortableSocket | None:
    found = getattr(_current, "socket", None)
    return found if isinstance(found, AbortableSocket) else None


class _AbortableConnection(HTTPConnection):
    def connect(self) -> None:
        if abortable := _requesting():
            abortable.connecting(self)
        super().connect()

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        if abortable := _requesting():
            abortable.connected(self)
        return super().getresponse()


class _AbortableTlsConnection(HTTPSConnection):
    def connect(self) -> None:
        if abortable := _requesting():
            abortable.connecting(self)
        super().connect()

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        if abortable := _requesting():
            abortable.connected(self)
        return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _AbortableConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _AbortableTlsConnection


def make_abortable(manager: urllib3.PoolManager) -> None:
    """Let a pool manager's connections tell the requesting thread which socket they use."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
