"""Addresses, networks and host names that a user writes, read once.

Example:
    >>> parse_address("127.0.0.1:8000", what="--listen").port
    8000
    >>> Upstream.parse("korean=10.0.0.1:8000,[fd00::1]:8000").name
    'korean'
"""

import ipaddress
import re
from dataclasses import dataclass

from modelvault.errors import BadOption

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PLACE = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})"
)
_UPSTREAM_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_LONGEST_HOST = 253
_RESERVED_NAMES = {"api", "health", "v1"}
"""First parts of paths that servers have themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and a TCP port."""

    host: str
    """An IP address without brackets, or a DNS name."""
    port: int

    def __str__(self) -> str:
        """Return ``HOST:PORT``, with brackets around an address of IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this host reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def from_here(self) -> "Address":
        """The address as a program on the same host reaches it."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound
        return Address(host=anywhere.get(self.host, self.host), port=self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Servers that answer alike, and the name that clients choose them by."""

    name: str
    servers: tuple[Address, ...]

    @classmethod
    def parse(cls, text: str) -> "Upstream":
        """Return the upstream written as ``NAME=HOST:PORT[,HOST:PORT…]``.

        Raises:
            BadOption: Not so written, or a name that servers use in their own paths.
        """
        name, equals, places = text.partition("=")
        if not equals or not _UPSTREAM_NAME.fullmatch(name) or name in _RESERVED_NAMES:
            raise BadOption(
                f"--upstream {text!r} has no name that can stand in a path",
                hint="write NAME=HOST:PORT[,HOST:PORT…], such as korean=10.0.0.5:8000",
            )
        servers = tuple(parse_address(place, what="--upstream") for place in places.split(","))
        if len(set(servers)) < len(servers):
            raise BadOption(f"--upstream {text!r} names a server twice", hint="name each once")
        return cls(name=name, servers=servers)


def parse_address(text: str, *, what: str) -> Address:
    """Return the address written as ``HOST:PORT`` or ``[IPV6]:PORT``.

    Args:
        text: What the user wrote.
        what: The option, for messages.

    Raises:
        BadOption: Not an address, or no such port.
    """
    match = _PLACE.fullmatch(text)
    hint = "write HOST:PORT, such as 127.0.0.1:8000 or [::1]:8000"
    if match is None:
        raise BadOption(f"{what}: {text!r} is no address", hint=hint)
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise BadOption(f"{what}: there is no port {port}", hint=hint)
    if match["six"] is None:
        return Address(host=parse_host(match["host"], what=what), port=port)
    try:
        host = str(ipaddress.IPv6Address(match["six"]))
    except ValueError as error:
        raise BadOption(f"{what}: {text!r} is no address: {error}", hint=hint) from error
    return Address(host=host, port=port)


def parse_host(text: str, *, what: str) -> str:
    """Return a DNS name or an address of IPv4, in lower case.

    Raises:
        BadOption: It is neither.
    """
    if len(text) > _LONGEST_HOST or not _HOST.fullmatch(text):
        raise BadOption(
            f"{what}: {text!r} is no host name", hint="write a name such as llm.example"
        )
    if re.fullmatch(r"[0-9.]+", text):  # a name cannot end in digits alone: it has to be IPv4
        try:
            ipaddress.IPv4Address(text)
        except ValueError as error:
            raise BadOption(f"{what}: {text!r} is no address: {error}") from error
    return text.lower()


def parse_network(text: str, *, what: str) -> str:
    """Return a network in CIDR notation; a single address is one of its own.

    Raises:
        BadOption: Not a network, or bits are set that the mask leaves out.
    """
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise BadOption(
            f"{what}: {text!r} is no network: {error}", hint="write it as in 10.0.0.0/8"
        ) from error
