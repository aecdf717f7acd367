"""The fence around the server holds: without it, silence would prove nothing."""

import subprocess
from pathlib import Path

import pytest

from tests.served.engine import make_environment, read_traffic

_ATTEMPTS = {
    "connect": "import socket; socket.create_connection(('192.0.2.7', 443), 5)",
    "lookup": "import socket; socket.getaddrinfo('huggingface.co', 443)",
    "datagram": "import socket; "
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'.', ('192.0.2.7', 53))",
}


@pytest.mark.parametrize("attempt", _ATTEMPTS)
def test_attack_server_that_calls_out_is_stopped_and_told_of(
    attempt: str, python: str, tmp_path: Path
) -> None:
    """What leaves the machine fails, in children too, and is written down."""
    child = f"[sys.executable, '-c', {_ATTEMPTS[attempt]!r}]"
    code = f"import subprocess, sys; sys.exit(subprocess.run({child}).returncode)"
    done = subprocess.run(
        [python, "-c", code], env=make_environment(tmp_path), check=False, capture_output=True
    )
    assert done.returncode != 0
    assert "not this machine" in done.stderr.decode()
    assert read_traffic(tmp_path)


def test_loopback_is_reached(python: str, tmp_path: Path) -> None:
    """A server and its client on one machine find each other."""
    code = (
        "import socket; server = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(('localhost', server.getsockname()[1]), 5)"
    )
    subprocess.run([python, "-c", code], env=make_environment(tmp_path), check=True)
    assert read_traffic(tmp_path) == ""
