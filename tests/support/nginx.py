"""A real nginx that serves one configuration of ours, on loopback.

What differs from a site's is what a test cannot have: the log's folder, and the ``nginx.conf``
around it, which Debian's ``http`` block stands for.
"""

import contextlib
import http.client
import os
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelvault.serving.choices import Form, Server
from tests.support.serving import call, main_file, program, usual_model
from tests.support.tls import Authority

_MAIN = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    access_log {folder}/other.log;
{includes}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A site that stands in a folder."""

    folder: Path
    port: int
    authority: Path
    """Certificate of the authority that vouches for it."""
    keys: Mapping[str, str]
    """The clients' keys by their names."""

    def connect(self) -> http.client.HTTPSConnection:
        """Return a connection that checks the certificate."""
        context = ssl.create_default_context(cafile=str(self.authority))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, body and headers of an answer."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())

    def log(self, word: str) -> str:
        """Return what it wrote of the requests, as soon as a word is in it.

        nginx writes a line when it is done with a request, which is after its client is.
        """
        path = self.folder / "log" / f"{SITE}.log"
        deadline = time.monotonic() + 30
        while word not in path.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        return path.read_text()


SITE = "models-acme-tiny-1b"
"""The name that files and zones of the usual model's site have."""


def free_port() -> int:
    """Return a port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def lay_out(folder: Path, server: Server, **wishes: object) -> Proxy:
    """Write a site with its certificate, its keys and an ``nginx.conf``; start nothing."""
    authority = Authority(folder / "tls", "authority")
    authority.server_context("127.0.0.1")
    pair = folder / "tls" / "authority-127.0.0.1.pem"
    keys = {name: secrets.token_hex(16) for name in ("team-a", "team-b")}
    (folder / "keys").mkdir()
    for name, key in keys.items():
        (folder / "keys" / f"{name}.map").write_text(f'"Bearer {key}" "{name}";\n')
    (folder / "log").mkdir()
    port = free_port()
    asked = {
        "listen": f"127.0.0.1:{port}",
        "certificate": str(pair),
        "certificate_key": str(pair),
        "keys": str(folder / "keys"),
        **wishes,
    }
    text = main_file(server, Form.NGINX, usual_model(server), **asked)
    (folder / f"{SITE}.conf").write_text(text.replace("/var/log/nginx/", f"{folder}/log/"))
    main = _MAIN.format(
        user="user root;" if os.geteuid() == 0 else "",
        folder=folder,
        includes=f"    include {folder}/*.conf.site;\n    include {folder}/{SITE}.conf;",
    )
    (folder / "nginx.conf").write_text(main)
    return Proxy(folder=folder, port=port, authority=authority.file, keys=keys)


def judge(proxy: Proxy) -> str:
    """Return what ``nginx -t`` says; it must not find a fault."""
    nginx = program("nginx", "nginx")
    done = call(nginx, "-t", "-p", proxy.folder, "-c", proxy.folder / "nginx.conf")
    assert done.returncode == 0, done.stderr
    return done.stderr


@contextlib.contextmanager
def running(proxy: Proxy) -> Iterator[Proxy]:
    """Serve a site while the block runs."""
    judge(proxy)
    nginx = program("nginx", "nginx")
    command = [nginx, "-p", str(proxy.folder), "-c", str(proxy.folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(proxy.port, process)
            yield proxy
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, "nginx ended"
        time.sleep(0.02)
    raise AssertionError("nginx does not listen")
