"""A Hub on the loopback interface that the unmodified ``huggingface_hub`` client accepts.

Two origins, as in the real world: the hub itself, which knows tokens and answers the API
and ``resolve``, and a "CDN" on another port, which knows only signed, expiring URLs.

Example:
    >>> with LoopbackHub() as hub:
    ...     repository = hub.add("acme/tiny", {"config.json": b"{}"})
    ...     hub.endpoint.startswith("http://127.0.0.1:")
    True
"""

import ssl
from types import TracebackType
from typing import Self

from tests.support.hub.exchanges import CdnExchange, HubExchange
from tests.support.hub.state import HubState
from tests.support.hub.transport import Exchange, Origin


class LoopbackHub(HubState):
    """The two servers and what they serve; use it in a ``with`` block."""

    def __init__(
        self, *, port: int = 0, cdn_port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen; nothing is served before the block is entered.

        Args:
            port: Port of the hub; 0 takes a free one.
            cdn_port: Port of the CDN.
            tls: Speak https, both of them, with this certificate; None for http.
        """
        super().__init__()
        self._tls = tls
        self._origins = [
            self._listen(HubExchange, "hub", port),
            self._listen(CdnExchange, "cdn", cdn_port),
        ]
        self.endpoint, self.cdn = (origin.url for origin in self._origins)

    def _listen(self, kind: type[Exchange], name: str, port: int) -> Origin:
        handler = type(kind.__name__, (kind,), {"hub": self})
        return Origin(
            handler,
            name=name,
            port=port,
            faults=self.faults,
            journal=self.journal,
            tls=self._tls,
        )

    def __enter__(self) -> Self:
        """Start both servers."""
        for origin in self._origins:
            origin.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop both servers and cut every connection."""
        for origin in self._origins:
            origin.stop()
