"""A corporate proxy on the loopback interface: CONNECT, a password, TLS inspection."""

import base64
import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.support.tls import Authority


class Proxy:
    """A proxy for https; use it in a ``with`` block."""

    def __init__(
        self,
        *,
        login: str | None = None,
        inspector: Authority | None = None,
        upstream: Path | None = None,
    ) -> None:
        """Listen on a free port.

        Args:
            login: ``USER:PASSWORD`` that it asks for; None lets everybody through.
            inspector: Authority that signs for every host, so that the proxy can read along;
                None for a proxy that passes on what it cannot read.
            upstream: Certificates that an inspecting proxy believes itself.
        """
        self.login = login
        self.inspector = inspector
        self.upstream = upstream
        self.targets: list[str] = []
        """``HOST:PORT`` of every tunnel that was asked for."""
        self.headers: list[str] = []
        """Every header line that came with CONNECT."""
        self.read = bytearray()
        """What an inspecting proxy read of the requests."""
        handler = type("Handler", (_Exchange,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def url(self, login: str = "") -> str:
        """Return its address, with a user and password to send where one is given."""
        host = f"127.0.0.1:{self._server.server_address[1]}"
        return f"http://{login}@{host}" if login else f"http://{host}"

    def __enter__(self) -> Self:
        """Serve in a thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def admits(self, header: str | None) -> bool:
        """Return whether a ``Proxy-Authorization`` is the right one."""
        if self.login is None:
            return True
        return header == "Basic " + base64.b64encode(self.login.encode()).decode()


class _Exchange(BaseHTTPRequestHandler):
    proxy: Proxy

    def do_CONNECT(self) -> None:
        """Open a tunnel."""
        self.close_connection = True
        self.proxy.targets.append(self.path)
        self.proxy.headers += [f"{name}: {value}" for name, value in self.headers.items()]
        if not self.proxy.admits(self.headers.get("Proxy-Authorization")):
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="corporate"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        host, _, port = self.path.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            if self.proxy.inspector is None:
                _join(self.connection, far, None)
            else:
                self._inspect(self.proxy.inspector.server_context(host), far, host)

    def _inspect(self, context: ssl.SSLContext, far: socket.socket, host: str) -> None:
        trusted = ssl.create_default_context(cafile=str(self.proxy.upstream))
        with (
            context.wrap_socket(self.connection, server_side=True) as near,
            trusted.wrap_socket(far, server_hostname=host) as beyond,
        ):
            _join(near, beyond, self.proxy.read)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


def _join(near: Any, far: Any, read: bytearray | None) -> None:
    back = threading.Thread(target=_copy, args=(far, near, None), daemon=True)
    back.start()
    _copy(near, far, read)
    back.join()


def _copy(source: Any, target: Any, read: bytearray | None) -> None:
    try:
        while data := source.recv(65536):
            if read is not None:
                read += data
            target.sendall(data)
    except OSError:
        pass
    finally:
        for one in (source, target):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
