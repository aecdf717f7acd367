"""HTTP for the download engine: one answer at a time, with a body that can be cut off.

Invariants:
    * The token goes to the origin of the file's own URL and nowhere else, whatever a
      redirect says; neither it nor the query of a signed URL appears in a message.
    * A body yields plain bytes, and none after it was aborted.
    * What the network does to a request leaves here as ``TransientFailure``, which is worth another
      attempt, or as an error of ``modelvault.errors``, which is not.

urllib3 was chosen by measurement: four connections and the hasher move 2 GiB at the same
rate as ``http.client`` does, and it knows proxies, CONNECT and TLS inside TLS.
"""

import contextlib
import copy
import math
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from urllib.parse import urljoin, urlsplit

import urllib3

from modelvault.errors import SourceError
from modelvault.sources.net.abortable import AbortableSocket
from modelvault.sources.net.body import SMALL, Body
from modelvault.sources.net.cancel import Watchdog
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.failures import TransientFailure, translated
from modelvault.sources.net.proxies import Pools, refused_by_proxy
from modelvault.sources.net.retry import wait_hint
from modelvault.sources.net.urls import label_of, origin_of
from modelvault.version import __version__

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said, after redirects."""

    status: int
    headers: urllib3.HTTPHeaderDict
    url: str
    """The URL that gave this answer."""
    home: tuple[urllib3.HTTPHeaderDict, ...]
    """Headers of every answer by the home origin on the way, in order."""
    away: str | None
    """Where the home origin sent us to another origin; None when it did not."""
    body: Body


class HttpClient:
    """Sends HTTP requests; safe to use from any thread."""

    def __init__(self, connection: Connection, watchdog: Watchdog) -> None:
        """Read the proxy and certificate settings of the environment.

        Args:
            connection: Token, certificates, times and numbers.
            watchdog: Cuts requests that stall, and everything when the work is cancelled.

        Raises:
            BadConfiguration: A proxy variable or certificate file cannot be used.
        """
        limits = connection.limits
        self._authorization = connection.authorization
        self._limits = limits
        self._watchdog = watchdog
        self._timeout = urllib3.Timeout(connect=limits.connect_timeout, read=limits.read_timeout)
        self._pools = Pools(connection.connections, connection.tls_context())
        self._closed_until: dict[str, float] = {}
        self._mutex = threading.Lock()
        self._ends = math.inf

    def until(self, moment: float) -> Self:
        """Return a client that shares everything with this one; its requests end by a moment.

        Args:
            moment: As ``time.monotonic`` counts; the watchdog has to look now and then.
        """
        bounded = copy.copy(self)
        bounded._ends = moment  # noqa: SLF001 - a copy of this very object
        return bounded

    def head(self, url: str) -> Answer:
        """Ask the home origin about a file; a redirect to another origin is not followed.

        Raises:
            TransientFailure: Worth another attempt.
            SourceError: The redirects make no sense.
            SourceUnreachable: The certificate does not convince.
        """
        return self._ask("HEAD", url, {}, home=origin_of(url), follow=False)

    def get(self, url: str, *, home: str, start: int | None = None, end: int = 0) -> Answer:
        """Ask for a file, or for its bytes from ``start`` to before ``end``.

        Args:
            url: Where.
            home: Origin that may see the token.
            start: First byte of the range; None for the whole file.
            end: First byte after the range.

        Raises:
            TransientFailure: Worth another attempt.
            SourceError: The redirects make no sense.
            SourceUnreachable: The certificate does not convince.
        """
        headers = {} if start is None else {"Range": f"bytes={start}-{end - 1}"}
        return self._ask("GET", url, headers, home=home, follow=True)

    def close(self) -> None:
        """Close idle connections."""
        self._pools.close()

    def hold(self, url: str, seconds: float) -> None:
        """Send nothing to the origin of ``url`` for some seconds: it asked for that."""
        with self._mutex:
            origin = origin_of(url)
            until = max(self._closed_until.get(origin, 0.0), time.monotonic() + seconds)
            self._closed_until[origin] = until

    def _ask(
        self, method: str, url: str, headers: dict[str, str], *, home: str, follow: bool
    ) -> Answer:
        seen: list[urllib3.HTTPHeaderDict] = []
        away: str | None = None
        for _ in range(self._limits.redirects + 1):
            origin = origin_of(url)
            if time.monotonic() >= self._ends:
                raise TransientFailure("the time for it is over")
            abortable = AbortableSocket(ends=self._ends)
            response = self._send(abortable, method, url, headers, show_token=origin == home)
            body = Body(response, abortable, decode=response.status == 200)
            if response.status == 407:
                body.close()
                raise refused_by_proxy()
            if origin == home:
                seen.append(response.headers)
            try:
                target = _target(response, url)
                if target and origin == home and origin_of(target) != home:
                    away = target
            except BaseException:
                body.close()
                raise
            if target and (follow or away is None):
                _drain(body, method)
                url = target
                continue
            return Answer(
                status=response.status,
                headers=response.headers,
                url=url,
                home=tuple(seen),
                away=away,
                body=body,
            )
        raise SourceError(f"{label_of(url)}: more than {self._limits.redirects} redirects")

    def _send(
        self,
        abortable: AbortableSocket,
        method: str,
        url: str,
        headers: dict[str, str],
        *,
        show_token: bool,
    ) -> urllib3.BaseHTTPResponse:
        self._observe_hold(origin_of(url))
        full = {
            "User-Agent": f"modelvault/{__version__}",
            "Accept-Encoding": "identity",
            **headers,
        }
        if show_token and self._authorization:
            full["Authorization"] = self._authorization
        pool = self._pools.pool_for(url)
        with self._watchdog.watching(abortable), abortable.attached(), translated(label_of(url)):
            return pool.request(
                method,
                url,
                headers=full,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=self._timeout,
            )

    def _observe_hold(self, origin: str) -> None:
        with self._mutex:
            left = self._closed_until.get(origin, 0.0) - time.monotonic()
        self._watchdog.sleep(max(0.0, left))


def asked_to_wait(answer: Answer) -> float | None:
    """Return the seconds that an answer asks to wait; None when it does not say."""
    return wait_hint(answer.headers, datetime.now(UTC))


def _target(response: urllib3.BaseHTTPResponse, url: str) -> str | None:
    """Return where an answer redirects to, if it does."""
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or not location:
        return None
    try:
        target = urljoin(url, location)
        downgraded = urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https"
    except ValueError as error:
        raise SourceError(f"{label_of(url)}: redirects to something that is no URL") from error
    if downgraded:
        raise SourceError(f"{label_of(url)}: redirects from https to {label_of(target)}")
    origin_of(target)
    return target


def _drain(body: Body, method: str) -> None:
    """Read a redirect's small body so that the connection can serve again."""
    if method != "HEAD":
        with contextlib.suppress(TransientFailure):
            body.read(SMALL)
            body.read(1)
    else:
        body.read(1)
    body.close()
