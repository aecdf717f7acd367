"""The HTTP below both origins: one request, its faults, its body.

Bodies from disk go through ``sendfile``, which copies inside the kernel and lets other
threads run, so that the server is never what a benchmark measures.
"""

import contextlib
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.hub.faults import Fault, Faults, Kind, Stage
from tests.support.hub.journal import Journal, Request
from tests.support.hub.repository import HubFile

STEP = 8 * 1024 * 1024
"""Bytes handed to the kernel at once."""

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Origin(ThreadingHTTPServer):
    """One listening socket; closing it ends every connection and its thread."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(
        self,
        handler: type["Exchange"],
        *,
        name: str,
        port: int,
        faults: Faults,
        journal: Journal,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listen on a loopback port; 0 takes a free one."""
        super().__init__(("127.0.0.1", port), handler)
        self.name = name
        self.faults = faults
        self.journal = journal
        self.tls = tls
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name=name)

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, cut every connection, wait for the threads."""
        self.closing.set()
        self.shutdown()
        self._thread.join()
        with self._mutex:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below any TLS
        self.server_close()

    def get_request(self) -> tuple[Any, Any]:
        """Return the next connection; TLS shakes hands in the connection's own thread."""
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, then serve it in a thread."""
        with self._mutex:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        with self._mutex:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report a bug of the hub, but not that a client went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Which bytes of a file to send, and how."""

    file: HubFile
    start: int
    end: int
    """First byte not sent."""
    cut: int | None = None
    """Bytes after which the connection closes."""
    stall: float = 0.0
    """Seconds of silence before that."""
    flip: int | None = None
    """Offset within the body of one inverted byte."""
    rate: int = 0
    """Bytes a second; 0 for as fast as possible."""


class Exchange(BaseHTTPRequestHandler):
    """What the handlers of both origins share."""

    protocol_version = "HTTP/1.1"
    server_version = "loopback-hub"
    disable_nagle_algorithm = True
    server: Origin
    record: Request
    faults: tuple[Fault, ...]

    def serve(self) -> None:
        """Answer one request; each origin has its own way."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer a GET."""
        self.serve()

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        self.serve()

    def do_POST(self) -> None:
        """Answer a POST."""
        self.serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Stay silent: the journal has it all."""

    def begin(self, stage: Stage, path: str) -> bool:
        """Journal the request, and let faults before the answer happen.

        Returns:
            False when the request is already answered, or never will be.
        """
        headers = {name.lower(): value for name, value in self.headers.items()}
        authorized = headers.pop("authorization", None) is not None
        self.record = Request(
            origin=self.server.name,
            stage=stage,
            method=self.command,
            target=self.path,
            path=path,
            range=headers.get("range"),
            authorized=authorized,
            headers=headers,
        )
        self.server.journal.append(self.record)
        self.faults = self.server.faults.take(stage, self.command, path)
        if fault := self.fault(Kind.DELAY):
            self.server.closing.wait(fault.seconds)
        if self.fault(Kind.DROP):
            self.close_connection = True
            return False
        if fault := self.fault(Kind.STATUS):
            self.fail(fault.status, "armed fault", headers=fault.headers)
            return False
        return True

    def fault(self, kind: Kind) -> Fault | None:
        """Return the fault of this kind that hits the request."""
        return next((fault for fault in self.faults if fault.kind is kind), None)

    def split(self) -> tuple[list[str], str]:
        """Return the unquoted parts of the request's path, and its query."""
        target = urlsplit(self.path)
        return [unquote(part) for part in target.path.strip("/").split("/")], target.query

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a small answer."""
        self.record.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.record.sent += len(body)

    def answer_json(self, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send JSON."""
        body = json.dumps(value).encode()
        self.answer(200, {"Content-Type": "application/json", **(headers or {})}, body)

    def fail(
        self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send an error as the Hub does."""
        extra = {"X-Error-Message": message, **(headers or {})}
        if code:
            extra["X-Error-Code"] = code
        body = json.dumps({"error": message}).encode()
        self.answer(status, {"Content-Type": "application/json", **extra}, body)

    def send_file(self, file: HubFile, headers: Mapping[str, str]) -> None:
        """Answer a GET for a file: whole or a range, with this request's faults."""
        wanted = None if self.fault(Kind.IGNORE_RANGE) else self._range(file)
        start, end = wanted or (0, file.size)
        if wanted is not None and not start < end:
            self.answer(416, {"Content-Range": f"bytes */{file.size}"})
            return
        if fault := self.fault(Kind.SHIFT_RANGE):
            start, end = min(start + fault.after, end - 1), min(end + fault.after, file.size)
        if fault := self.fault(Kind.SHORT):
            end = max(start, end - fault.after)
        self.record.status = 200 if wanted is None else 206
        self.send_response(self.record.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Accept-Ranges", "bytes")
        if wanted is not None:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{file.size}")
        body = self._body(file, start, end)
        if fault := self.fault(Kind.OVERLONG):
            self._send_overlong(body, fault.after)
            return
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        self._send(body)

    def _range(self, file: HubFile) -> tuple[int, int] | None:
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None:
            return None
        start = int(match[1])
        end = int(match[2]) + 1 if match[2] else file.size
        return start, min(end, file.size)

    def _body(self, file: HubFile, start: int, end: int) -> Body:
        body = Body(file=file, start=start, end=end)
        if fault := self.fault(Kind.CUT):
            body = replace(body, cut=fault.after)
        if fault := self.fault(Kind.STALL):
            body = replace(body, cut=fault.after, stall=fault.seconds)
        if fault := self.fault(Kind.CORRUPT):
            body = replace(body, flip=min(fault.after, end - start - 1))
        if fault := self.fault(Kind.SLOW):
            body = replace(body, rate=fault.rate)
        return body

    def _send(self, body: Body) -> None:
        position, end = body.start, body.end
        if body.cut is not None:
            end = min(end, body.start + body.cut)
            self.close_connection = True
        source = body.file.content
        descriptor = -1 if isinstance(source, bytes) else os.open(source, os.O_RDONLY)
        step = max(1, body.rate // 20) if body.rate else STEP
        try:
            while position < end and not self.server.closing.is_set():
                began = time.monotonic()
                count = self._send_piece(body, descriptor, position, min(step, end - position))
                position += count
                self.record.sent += count
                if body.rate:
                    spent = time.monotonic() - began
                    self.server.closing.wait(max(0.0, count / body.rate - spent))
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        if body.stall:
            self.server.closing.wait(body.stall)

    def _send_piece(self, body: Body, descriptor: int, position: int, count: int) -> int:
        flip = -1 if body.flip is None else body.start + body.flip
        plain = not isinstance(self.connection, ssl.SSLSocket)
        if plain and descriptor >= 0 and not position <= flip < position + count:
            return os.sendfile(self.connection.fileno(), descriptor, position, count)
        content = body.file.content
        if isinstance(content, bytes):
            piece = bytearray(content[position : position + count])
        else:
            piece = bytearray(os.pread(descriptor, count, position))
        if position <= flip < position + count:
            piece[flip - position] ^= 0xFF
        self.connection.sendall(piece)
        return len(piece)

    def _send_overlong(self, body: Body, extra: int) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        total = body.end - body.start + extra
        self.wfile.write(b"%x\r\n" % total)
        self._send(body)
        self.wfile.write(b"\0" * extra + b"\r\n0\r\n\r\n")
        self.record.sent += extra
