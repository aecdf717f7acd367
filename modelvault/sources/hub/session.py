"""The HTTP client that the Hub's library talks through: patient, bounded, close with its token.

The library itself waits for ever, does not retry most API calls, obeys any waiting time a
server asks for, reads answers of any length into memory, and shows its token to whatever URL a
listing names as its next page. This client puts limits on all of that, those of
``net.questions``; whatever passes them is an error of this project and needs no further retry.

Invariants:
    * A request is tried at most ``ATTEMPTS`` times; one wait is at most the connection's longest.
    * An answer of more than ``ANSWER_LIMIT`` bytes is refused before it is in memory,
      decompressed or not; one that is not whole after ``ANSWER_SECONDS`` is cut off, however
      little at a time it goes on to send.
    * The token goes to the endpoint's own origin. Where that is known to have moved from http to
      https on its host, it goes over https alone.
"""

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2

from modelvault.errors import HubError, HubUnreachable, ModelVaultError
from modelvault.sources.net import certificates
from modelvault.sources.net.abortable import shut_down
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.proxies import refused_by_proxy
from modelvault.sources.net.questions import WORTH_TELLING
from modelvault.sources.net.retry import (
    QUESTION_LIMITS,
    Patience,
    is_busy,
    wait_hint,
    whole_seconds,
)
from modelvault.sources.net.urls import label_of, origin_of

_log = logging.getLogger(__name__)

ATTEMPTS = QUESTION_LIMITS.attempts + 1
ANSWER_LIMIT = 64 * 1024 * 1024
"""Largest answer to one API call, in bytes."""
ANSWER_SECONDS = 120.0
"""Whole time of one answer, from the request to its last byte."""
_AUTHORIZATION = "Authorization"


class PatientClient(httpx2.Client):
    """An ``httpx2.Client`` with retries, time limits and a limit on answers."""

    def __init__(self, connection: Connection | None = None, **options: Any) -> None:
        """Take what ``httpx2.Client`` takes.

        Args:
            connection: How the Hub is spoken to: its endpoint, times and waits.
            **options: As ``httpx2.Client`` has them.
        """
        super().__init__(**options)
        connection = connection or Connection()
        limits = connection.limits
        self._timeouts = httpx2.Timeout(limits.read_timeout, connect=limits.connect_timeout)
        self._answer_seconds = whole_seconds(limits, ANSWER_SECONDS)
        self._longest_wait = connection.longest_wait
        self._tell = connection.tell
        self._home = connection.endpoint
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request until it is answered.

        Raises:
            HubUnreachable: No answer, or only refusals to work, within attempts and times.
            HubError: The answer is too large.
            BadConfiguration: A proxy that the environment names cannot be used.
        """
        self._keep_home(request)
        extensions = {"timeout": self._timeouts.as_dict(), "trace": self._take_note}
        request.extensions = {**request.extensions, **extensions}
        if options.pop("stream", False):
            return super().send(request, stream=True, **options)
        patience = Patience(QUESTION_LIMITS, QUESTION_LIMITS.attempts)
        while True:
            answer = self._try(request, patience, options)
            if isinstance(answer, httpx2.Response):
                return answer
            _log.info("%s: asked again in %.1f s", label_of(str(request.url)), answer)
            if answer > WORTH_TELLING:
                self._tell(f"{_origin(request)} limits requests: going on in {answer:.0f} s")
            time.sleep(answer)

    def _keep_home(self, request: httpx2.Request) -> None:
        """Lead a request to the endpoint as it is now; show the token to nobody else."""
        if not self._home:
            return
        home = httpx2.URL(self._home)
        asked = request.url
        if (home.scheme, asked.scheme, asked.host) == ("https", "http", home.host):
            # A server behind a TLS proxy names its next page as it was asked itself.
            request.url = asked.copy_with(scheme="https", port=home.port)
            request.headers["Host"] = request.url.netloc.decode("ascii")
        if origin_of(str(request.url)) != origin_of(self._home):
            request.headers.pop(_AUTHORIZATION, None)

    def _try(
        self, request: httpx2.Request, patience: Patience, options: dict[str, Any]
    ) -> httpx2.Response | float:
        """Return the answer, read; or the seconds until another attempt."""
        hint = None
        with self._cut_off(self._answer_seconds) as expired:
            try:
                response = super().send(request, stream=True, **options)
                with contextlib.closing(response):
                    if response.status_code == 407:
                        raise refused_by_proxy()
                    _log.debug("%s answers %d", label_of(str(request.url)), response.status_code)
                    if not is_busy(response.status_code):
                        return _read(response)
                    if not patience.failed():
                        raise _refused(response)
                    hint = self._requested_wait(response)
            except httpx2.TransportError as error:
                if expired.is_set():
                    raise self._too_slow(request) from error
                if isinstance(error, httpx2.ProxyError) and str(error).startswith("407"):
                    raise refused_by_proxy() from error
                if _is_hopeless(error) or not patience.failed():
                    raise _unreachable(request, error) from error
        return patience.wait(hint)

    def _requested_wait(self, response: httpx2.Response) -> float | None:
        """Return the seconds the server asks to wait; None where it does not say.

        Raises:
            HubUnreachable: It asks for longer than is reasonable to sit through.
        """
        seconds = wait_hint(response.headers, datetime.now(UTC))
        if seconds is not None and seconds > self._longest_wait:
            raise HubUnreachable(
                f"{_origin(response.request)} limits requests: it asks to wait {seconds:.0f}"
                " seconds",
                hint=f"run this again in {seconds:.0f} seconds; what came is kept",
            )
        return seconds

    def _too_slow(self, request: httpx2.Request) -> HubUnreachable:
        return HubUnreachable(
            f"{_origin(request)}: an answer was not whole after {self._answer_seconds:.0f} seconds",
            hint="run this again later, or allow more with --timeout; what came is kept",
        )

    def _take_note(self, event: str, details: dict[str, Any]) -> None:
        """Take note of the sockets that are opened, so that they can be cut off."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._sockets.add(details["return_value"].get_extra_info("socket"))

    @contextlib.contextmanager
    def _cut_off(self, seconds: float) -> Iterator[threading.Event]:
        """Cut every connection when the block takes longer; yield what is set then."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            for found in list(self._sockets):
                shut_down(found)

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield expired
        finally:
            timer.cancel()


def upgraded(endpoint: str, path: str, client: httpx2.Client) -> tuple[httpx2.Response, str]:
    """Return an answer of an endpoint, and the endpoint over https where that redirects there.

    The question bears no token: what a server on the way could read is asked in the open.

    Args:
        endpoint: Base URL, over http.
        path: What is asked for below it.
        client: Asks.

    Raises:
        HubError: It redirects to another host, which must not see the token.
        ModelVaultError: As ``PatientClient.send``.
    """
    asked = f"{endpoint}{path}"
    answer = client.get(asked, follow_redirects=False)
    location = answer.headers.get("Location", "")
    if not 300 <= answer.status_code < 400 or not location.startswith("https://"):
        return answer, endpoint
    target = location.partition("?")[0].partition("#")[0]
    base = target.removesuffix(path).rstrip("/")
    try:
        same_host = httpx2.URL(target).host == httpx2.URL(asked).host
    except httpx2.InvalidURL:
        same_host = False
    if not same_host or not target.endswith(path):
        raise HubError(
            f"{endpoint} redirects to {label_of(location)}, which does not get the token",
            hint="name the endpoint as it is now: --endpoint https://HOST",
        )
    return answer, base


def _read(response: httpx2.Response) -> httpx2.Response:
    """Return the same answer, read; pieces are decompressed one network read at a time."""
    pieces: list[bytes] = []
    total = 0
    for piece in response.iter_bytes():
        total += len(piece)
        if total > ANSWER_LIMIT:
            raise HubError(
                f"{_origin(response.request)}: an answer exceeds {ANSWER_LIMIT} bytes",
                hint="check that the endpoint is a Hugging Face Hub or a mirror of one",
            )
        pieces.append(piece)
    kept = [
        (name, value)
        for name, value in response.headers.multi_items()
        if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
    ]
    return httpx2.Response(
        response.status_code,
        headers=kept,
        content=b"".join(pieces),
        request=response.request,
        history=response.history,
    )


def _refused(response: httpx2.Response) -> HubUnreachable:
    return HubUnreachable(
        f"{_origin(response.request)} answers {response.status_code} to every attempt",
        hint="run this again later; what came is kept",
    )


def _is_hopeless(error: BaseException) -> bool:
    """Return whether it is the certificate, which no further attempt will change."""
    return "CERTIFICATE" in str(error).upper()


def _unreachable(request: httpx2.Request, error: httpx2.TransportError) -> ModelVaultError:
    reason = str(error) or type(error).__name__
    hint = "check the network, the proxy variables and --endpoint"
    if _is_hopeless(error):
        hint = certificates.HINT
    return HubUnreachable(f"{_origin(request)} does not answer: {reason}", hint=hint)


def _origin(request: httpx2.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
