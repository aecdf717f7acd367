"""What the tests promise of the network is held: proven by breaking it."""

import socket
import threading
from pathlib import Path

import pytest

from tests.support.command import closed_site
from tests.support.hub.hub import LoopbackHub
from tests.support.needs import require
from tests.support.network import NetworkUsed, Reach, limited

ELSEWHERE = ("192.0.2.1", 9)  # reserved for documentation, RFC 5737


def test_connection_beyond_loopback_fails_the_test() -> None:
    """By address, by name and without a connection; loopback is served."""
    with pytest.raises(NetworkUsed), limited(Reach.LOOPBACK):
        socket.create_connection(ELSEWHERE, timeout=1)
    with pytest.raises(NetworkUsed), limited(Reach.LOOPBACK):
        socket.getaddrinfo("models.example", 443)
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    with datagram, pytest.raises(NetworkUsed), limited(Reach.LOOPBACK):
        datagram.sendto(b"x", ELSEWHERE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_swallowed_attempt_fails_the_test_at_its_end() -> None:
    """In a thread of a library that logs errors and goes on, too."""

    def quietly() -> None:
        try:
            socket.create_connection(ELSEWHERE, timeout=1)
        except BaseException:
            return

    def library() -> None:
        with limited(Reach.LOOPBACK):
            thread = threading.Thread(target=quietly)
            thread.start()
            thread.join()

    with pytest.raises(NetworkUsed, match=r"192\.0\.2\.1"):
        library()


def test_host_without_a_network_has_no_sockets_of_it() -> None:
    """Pairs and paths remain: children are spoken to through them."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with pytest.raises(NetworkUsed), limited(Reach.NOWHERE):
            socket.socket(family)
    with limited(Reach.NOWHERE):
        for end in socket.socketpair():
            end.close()


def test_command_of_a_closed_site_reaches_nothing(tmp_path: Path) -> None:
    """Not the hub that stands on this very host."""
    site = closed_site(tmp_path / "closed")
    if "--net" not in site.prefix:
        require("network namespaces")
    with LoopbackHub() as hub:
        hub.add("acme/tiny", {"config.json": b"{}"})
        done = site.run("pull", "acme/tiny", "--endpoint", hub.endpoint)
        assert done.status == 6
        assert hub.journal.requests() == []
