"""Keeps every Python process of a server on this machine: only loopback is reached.

Python runs this file at its start when its folder is in ``PYTHONPATH``, so that it holds in
the server's own children, too. What is asked for elsewhere is refused and written to the file
that ``SERVED_TRAFFIC`` names, one line each.
"""

import errno
import ipaddress
import os
import sys
from typing import Any

_NAMES = {"", "localhost"}


def _is_near(host: object) -> bool:
    if host is None or host in _NAMES:
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path, or connected before
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if _is_near(host):
        return
    with open(os.environ["SERVED_TRAFFIC"], "a", encoding="utf-8") as file:
        file.write(f"{event} {host!r} by {sys.argv[:2]}\n")
    raise OSError(errno.ENETUNREACH, f"{event} to {host!r}: not this machine")


sys.addaudithook(_watch)
