"""A web server on loopback whose every answer a test writes."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Server:
    """A server whose every answer a function writes, after keeping the request's headers."""

    def __init__(
        self, answer: Callable[[Any], None], context: ssl.SSLContext | None = None
    ) -> None:
        """Take a port; ``with`` serves.

        Args:
            answer: Writes each answer; it is given the handler of the request.
            context: Certificates to speak https with.
        """
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of each request."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                """Serve one request of any method."""
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.command, self.path, headers))
                answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Stay silent."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away is expected."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._context = context
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Base URL."""
        scheme = "https" if self._context else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def reply(exchange: Any, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer with a body."""
    exchange.send_response(status)
    for name, value in headers.items():
        exchange.send_header(name.replace("_", "-"), value)
    exchange.send_header("Content-Length", str(len(body)))
    exchange.end_headers()
    if exchange.command != "HEAD":
        exchange.wfile.write(body)


def send_range(exchange: Any, data: bytes, **headers: str) -> None:
    """Answer with the range that was asked for, or with everything."""
    asked = exchange.headers.get("Range")
    if asked is None:
        reply(exchange, 200, data, **headers)
        return
    start, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
    part = data[start : end + 1]
    total = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
    reply(exchange, 206, part, Content_Range=total, **headers)
