"""How a server is spoken to: one value, passed whole to whatever asks or fetches.

Example:
    >>> Connection(endpoint="https://hub.example", connections=4).rate is None
    True
"""

import base64
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelvault.errors import BadOption
from modelvault.sources.net.certificates import tls_context
from modelvault.sources.net.retry import WINDOW, Limits

Tell = Callable[[str], None]
"""Told in a sentence why nothing moves."""


def say_nothing(_: str) -> None:
    """Tell nobody."""


CONNECTIONS = 8
"""Connections at once, unless told otherwise: what the Hub's own client opens, too."""

_MOST_CONNECTIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic:
    """A user with a password.

    Example:
        >>> Basic(user="ann", password="hush").header
        'Basic YW5uOmh1c2g='
    """

    user: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """The value of the ``Authorization`` header."""
        both = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(both).decode('ascii')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where a server is, what opens it, and how much may be asked of the line."""

    endpoint: str = ""
    """Base URL of the service; empty for the source's own default."""
    token: str | None = field(default=None, repr=False)
    """Shown to the origin of a file's own URL and to no other; None for anonymous."""
    login: Basic | None = None
    """Shown where a token would be; None for the token, or anonymous."""
    ca_bundle: Path | None = None
    """Certificates to believe; None for what the environment says (see ``certificates``)."""
    connections: int = CONNECTIONS
    """How many at once, 1 to 64, files and segments together."""
    rate: int | None = None
    """Bytes a second over all connections; None for no limit."""
    limits: Limits = field(default_factory=Limits)
    """Times, and where patience ends."""
    longest_wait: float = WINDOW
    """Seconds that a server may ask to wait before a question is asked again."""
    tell: Tell = field(default=say_nothing, repr=False, compare=False)
    """Told when a server asks to wait."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be used.

        Raises:
            BadOption: Connections or rate are out of range.
        """
        if not 1 <= self.connections <= _MOST_CONNECTIONS:
            raise BadOption(
                f"{self.connections} connections cannot be used",
                hint=f"choose 1 to {_MOST_CONNECTIONS} connections",
            )
        if self.rate is not None and self.rate < 1:
            raise BadOption("a rate of nothing lets nothing through", hint="leave out --limit-rate")

    @property
    def authorization(self) -> str | None:
        """The value of the ``Authorization`` header; None for anonymous.

        Source: RFC 6750 (Bearer), RFC 7617 (Basic).
        """
        if self.token is not None:
            return f"Bearer {self.token}"
        return None if self.login is None else self.login.header

    def tls_context(self) -> ssl.SSLContext:
        """Return what checks the server's certificate.

        Raises:
            BadConfiguration: A named certificate file cannot be used.
        """
        return tls_context(self.ca_bundle)
