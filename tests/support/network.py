"""Sockets that tests may open: none that leaves this machine, and none at all where told so.

Every socket that Python code opens passes here, in this process, its threads and what it forks,
whichever library asks. What is refused is remembered, too: a test fails though the code under
test swallowed the error. Commands are held by the kernel instead: ``closed_site`` in
``command.py``.

The methods themselves are wrapped. An audit hook would see more, but in Python 3.11 a hook
written in Python and a trace function (coverage counts with one) let ``sys.settrace`` fail in a
thread that starts while another does: that thread never runs, and who waits for it waits for ever.
"""

import contextlib
import functools
import ipaddress
import socket
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

_INTERNET = (-1, socket.AF_INET, socket.AF_INET6)
"""Families of the Internet; -1 is what a socket takes when it is not told."""

_TO_ADDRESS = ("connect", "connect_ex", "sendto", "sendmsg")
_TO_NAME = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr")


class Reach(Enum):
    """How far sockets may reach."""

    ANYWHERE = "anywhere"
    LOOPBACK = "loopback"
    NOWHERE = "nowhere"


class NetworkUsed(AssertionError):
    """The code under test reached for a network that it must not know."""


class _Guard:
    """What is allowed now; the wrappers stay, and ask here."""

    def __init__(self) -> None:
        self.reach = Reach.ANYWHERE
        self.refused: list[str] = []
        self._installed = False

    def install(self) -> None:
        if self._installed:
            return
        self._installed = True
        _wrap(socket.socket, "__init__", self._opens)
        for name in _TO_ADDRESS:
            _wrap(socket.socket, name, functools.partial(self._reaches, name))
        for name in _TO_NAME:
            _wrap(socket, name, functools.partial(self._asks, name))

    def _opens(self, _: object, family: int = -1, *rest: object, **more: object) -> None:
        if self.reach is Reach.NOWHERE and family in _INTERNET and more.get("fileno") is None:
            self._refuse("socket", (family, *rest))

    def _reaches(self, name: str, _: object, *arguments: object) -> None:
        address = arguments[-1] if arguments else None
        if isinstance(address, tuple) and address and not _is_here(address[0]):
            self._refuse(name, address)

    def _asks(self, name: str, host: object, *rest: object, **_: object) -> None:
        if not _is_here(host):
            self._refuse(name, (host, *rest))

    def _refuse(self, name: str, arguments: tuple[object, ...]) -> None:
        if self.reach is not Reach.ANYWHERE:
            self.refused.append(f"{name}{arguments}")
            raise NetworkUsed(f"sockets may reach {self.reach.value}: {self.refused[-1]}")


def _wrap(owner: object, name: str, ask: Callable[..., None]) -> None:
    """Let a function ask first, with the same arguments."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **more: Any) -> Any:
        ask(*arguments, **more)
        return original(*arguments, **more)

    setattr(owner, name, wrapped)


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
