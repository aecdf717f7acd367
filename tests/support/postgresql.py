"""A real PostgreSQL server for tests: private, on loopback, thrown away afterwards.

The server's programs are taken from ``PATH`` or from where distributions put them. It
refuses to run as root; a test run by root starts it under an unprivileged account.
"""

import contextlib
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

_START_SECONDS = 60
_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    port: int
    password: str
    """Of the superuser ``vault``."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str = "postgres", *, password: str | None = None) -> str:
        """Return the URL of a database, as an operator would write it."""
        return f"postgresql://vault:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Make a new database; return its URL."""
        name = f"vault_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database that ``create_database`` made."""
        name = url.rpartition("/")[2]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


def find_program(name: str) -> Path | None:
    """Return where a program of the server stands; the newest version where there are several."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    return max(versions, key=lambda path: float(path.parts[-3]), default=None)


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Yield a server; skip the test where it is not installed.

    With ``MODELVAULT_REQUIRE_ALL=1`` its absence is a failure.
    """
    initdb, postgres = find_program("initdb"), find_program("postgres")
    if initdb is None or postgres is None:
        reason = "no PostgreSQL server: neither initdb in PATH nor /usr/lib/postgresql/*/bin"
        if os.environ.get("MODELVAULT_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="modelvault-pg-"))
    try:
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        password = secrets.token_hex(12)
        _initialise(initdb, folder, password, account)
        port = _free_port()
        with _process(postgres, folder, port, account) as process:
            server = Server(port=port, password=password)
            _wait(server, process, folder)
            yield server
    finally:
        shutil.rmtree(folder)


def _account() -> pwd.struct_passwd | None:
    """Return the account to run under; None for our own."""
    if os.getuid() != 0:
        return None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError(f"PostgreSQL does not run as root, and there is none of {_ACCOUNTS}")


def _spawn(
    command: list[str], folder: Path, account: pwd.struct_passwd | None, log: Path
) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C"}
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )


def _initialise(
    initdb: Path, folder: Path, password: str, account: pwd.struct_passwd | None
) -> None:
    secret = folder / "password"
    secret.write_text(password, encoding="ascii")
    if account is not None:
        os.chown(secret, account.pw_uid, account.pw_gid)
    command = [str(initdb), "-D", str(folder / "data"), "-U", "vault", f"--pwfile={secret}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
    log = folder / "initdb.log"
    if _spawn(command, folder, account, log).wait(timeout=_START_SECONDS) != 0:
        raise RuntimeError(f"initdb failed: {log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(
    postgres: Path, folder: Path, port: int, account: pwd.struct_passwd | None
) -> Iterator[subprocess.Popen[bytes]]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "full_page_writes": "off",
        "max_connections": "60",
        "shared_buffers": "32MB",
    }
    command = [str(postgres), "-D", str(folder / "data")]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    process = _spawn(command, folder, account, folder / "server.log")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown: sessions are disconnected
        try:
            process.wait(timeout=_START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(server.url(), connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "server.log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL did not start: {log}") from error
            time.sleep(0.1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A server that lives as long as the test run."""
    with running_server() as server:
        yield server
