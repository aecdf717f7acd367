"""What the loopback hub was asked, and how many bytes it sent."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.hub.faults import Stage


@dataclass(slots=True, kw_only=True)
class Request:
    """One request, in the order of arrival."""

    origin: str
    """``hub`` or ``cdn``."""
    stage: Stage
    method: str
    target: str
    """Path and query as sent."""
    path: str
    """The file's path in its repository, or the API call's name."""
    range: str | None
    """The ``Range`` header."""
    authorized: bool
    """Whether an ``Authorization`` header came along."""
    headers: Mapping[str, str] = field(repr=False)
    """Other headers, names in lower case; the authorization's value is not kept."""
    status: int = 0
    """Status of the answer; 0 while there is none."""
    sent: int = 0
    """Bytes of the body sent so far."""


class Journal:
    """All requests of one hub; safe to use from any thread."""

    def __init__(self) -> None:
        """Start empty."""
        self._requests: list[Request] = []
        self._mutex = threading.Lock()

    def append(self, request: Request) -> None:
        """Keep a request; its handler fills in status and bytes later."""
        with self._mutex:
            self._requests.append(request)

    def clear(self) -> None:
        """Forget everything."""
        with self._mutex:
            self._requests.clear()

    def requests(
        self,
        *,
        origin: str | None = None,
        stage: Stage | None = None,
        method: str | None = None,
        path: str | None = None,
    ) -> list[Request]:
        """Return the requests that match, oldest first."""
        with self._mutex:
            return [
                request
                for request in self._requests
                if origin in (None, request.origin)
                and stage in (None, request.stage)
                and method in (None, request.method)
                and path in (None, request.path)
            ]

    def sent(self, *, origin: str | None = None, path: str | None = None) -> int:
        """Return the bytes of bodies sent for file contents."""
        return sum(
            request.sent
            for request in self.requests(origin=origin, path=path)
            if request.stage is not Stage.API
        )
