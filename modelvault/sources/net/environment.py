"""How connections get out: what the environment says of proxies, read in one way for everybody.

``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` choose the way for each URL. A
name in lower case goes before the same in capitals, and empty means none. ``NO_PROXY`` is a list,
by commas or spaces, of

* ``*`` for every host;
* names: ``example.com``, ``.example.com`` and ``*.example.com`` stand for the domain and all below;
* addresses (``10.1.2.3``, ``::1``) and networks of them (``10.0.0.0/8``); names are not resolved;
* any of the names and addresses with a port: ``hub.example:8443``.

Example:
    >>> ways = Proxies({"HTTPS_PROXY": "proxy.example:3128", "NO_PROXY": "10.0.0.0/8"})
    >>> ways.proxy_for("https://hub.example/"), ways.proxy_for("https://10.1.2.3/")
    ('http://proxy.example:3128', '')

Source: curl, "CURLOPT_NOPROXY"; Go, ``golang.org/x/net/http/httpproxy`` (networks).
"""

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from modelvault.errors import BadConfiguration
from modelvault.sources.net.urls import label_of

_PORTS = {"http": 80, "https": 443}
_SCHEMES = ("http", "https")


class Proxies:
    """The ways out; safe to use from any thread."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read the variables; nothing that is wrong with them is told before it matters.

        Args:
            environment: Variables to look into.
        """
        self._named: dict[str, tuple[str, str]] = {}
        """``http``, ``https`` or ``all`` → variable and address."""
        for kind in (*_SCHEMES, "all"):
            name, address = _read(environment, f"{kind}_proxy")
            if address and not _is_forged(name, environment):
                self._named[kind] = (name, address)
        self._without = _Bypass(_read(environment, "no_proxy")[1])

    def proxy_for(self, url: str) -> str:
        """Return the address of the proxy for a URL; empty for the direct way.

        Raises:
            BadConfiguration: The proxy that is named is none that can be used; the message does
                not quote its password.
        """
        parts = urlsplit(url)
        name, address = self._named.get(parts.scheme) or self._named.get("all") or ("", "")
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        if not address or self._without.covers(host, port):
            return ""
        return _usable(name, address if "://" in address else f"http://{address}")


def _read(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return how a variable is spelled, and what it says."""
    for spelled in (name, name.upper()):
        if spelled in environment:
            return spelled, environment[spelled].strip()
    return name, ""


def _is_forged(name: str, environment: Mapping[str, str]) -> bool:
    """Return whether a web server may have made the variable of a request's header.

    Source: CVE-2016-5385 ("httpoxy").
    """
    return name == "HTTP_PROXY" and "REQUEST_METHOD" in environment


def _usable(name: str, address: str) -> str:
    try:
        parts = urlsplit(address)
        usable = parts.scheme.lower() in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
        parts = urlsplit("")
    if usable:
        return address
    if parts.scheme.lower().startswith("socks"):
        raise BadConfiguration(
            f"{name} names a SOCKS proxy, {label_of(address)}, which cannot be used",
            hint="set HTTPS_PROXY and HTTP_PROXY to an http:// proxy, which go before ALL_PROXY;"
            " or name the server in NO_PROXY, or unset the variable",
        )
    raise BadConfiguration(
        f"{name}: the proxy {label_of(address)} cannot be used",
        hint="set HTTP_PROXY and HTTPS_PROXY to http:// or https:// addresses",
    )


class _Bypass:
    """What ``NO_PROXY`` says."""

    def __init__(self, text: str) -> None:
        """Read the list; what is neither a name nor an address is passed over."""
        self._all = False
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int | None]] = []
        for entry in text.replace(",", " ").split():
            self._add(entry.rpartition("://")[2].lower())

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._all = True
            return
        host, port = _split_port(entry)
        try:
            self._networks.append((ipaddress.ip_network(host, strict=False), port))
        except ValueError:
            name = host.removeprefix("*").strip(".")
            if name:
                self._names.append((name, port))

    def covers(self, host: str, port: int) -> bool:
        """Return whether a host is reached directly."""
        if self._all:
            return True
        host = host.lower().rstrip(".")
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return any(
                only in (None, port) and (host == name or host.endswith(f".{name}"))
                for name, only in self._names
            )
        return any(
            only in (None, port) and address.version == network.version and address in network
            for network, only in self._networks
        )


def _split_port(entry: str) -> tuple[str, int | None]:
    """Return a host without brackets, and its port where one is named."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
        return f"{host}{rest}" if rest.startswith("/") else host, _number(port)
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, _number(port)
    return entry, None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
