"""Sockets that tests may open: none that leaves this machine, and none at all where told so.

An audit hook sees every socket of this process, of its threads and of what it forks, whichever
library opens it. What is refused is remembered, too: a test fails though the code under test
swallowed the error. Commands are held by the kernel instead: ``closed_site`` in ``command.py``.
"""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from enum import Enum

_INTERNET = (socket.AF_INET, socket.AF_INET6)
_TO_ADDRESS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_TO_NAME = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


class Reach(Enum):
    """How far sockets may reach."""

    ANYWHERE = "anywhere"
    LOOPBACK = "loopback"
    NOWHERE = "nowhere"


class NetworkUsed(AssertionError):
    """The code under test reached for a network that it must not know."""


class _Guard:
    """What is allowed now; a hook cannot be removed, so it asks here."""

    def __init__(self) -> None:
        self.reach = Reach.ANYWHERE
        self.refused: list[str] = []
        self._installed = False

    def install(self) -> None:
        if not self._installed:
            sys.addaudithook(self._hear)
            self._installed = True

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.reach is Reach.ANYWHERE or not event.startswith("socket."):
            return
        if self.reach is Reach.NOWHERE:
            refused = event == "socket.__new__" and arguments[1] in _INTERNET
        else:
            refused = _leaves(event, arguments)
        if refused:
            told = arguments if event in _TO_NAME else arguments[1:]
            self.refused.append(f"{event}{told}")
            raise NetworkUsed(f"sockets may reach {self.reach.value}: {self.refused[-1]}")


def _leaves(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether an event asks for something beyond the loopback interface."""
    if event in _TO_ADDRESS:
        address = arguments[1]
        return isinstance(address, tuple) and not _is_here(address[0])
    return event in _TO_NAME and not _is_here(arguments[0])


def _is_here(host: object) -> bool:
    if host is None or host in ("", "localhost", b"localhost"):
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


_GUARD = _Guard()


@contextlib.contextmanager
def limited(reach: Reach) -> Iterator[None]:
    """Hold the sockets of this process to a reach; nested, the inner one holds.

    Raises:
        NetworkUsed: At its end, where something else was asked for meanwhile.
    """
    _GUARD.install()
    before, known = _GUARD.reach, len(_GUARD.refused)
    _GUARD.reach = reach
    try:
        yield
    finally:
        _GUARD.reach = before
        refused = _GUARD.refused[known:]
        del _GUARD.refused[known:]
    if refused:
        raise NetworkUsed(f"sockets may reach {reach.value}: {refused[0]}")
