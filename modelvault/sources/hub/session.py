"""The HTTP client that the Hub's library talks through: patient, and bounded.

The library itself waits for ever, does not retry most API calls, obeys any waiting time a
server asks for, and reads answers of any length into memory. This client puts limits on
all four, those of ``net.questions``; whatever passes them is an error of this project and
needs no further retry.

Invariants:
    * A request is tried at most ``ATTEMPTS`` times; one wait is at most ``LONGEST_WAIT``.
    * An answer of more than ``ANSWER_LIMIT`` bytes is refused before it is in memory,
      decompressed or not; one that is not whole after ``ANSWER_SECONDS`` is cut off, however
      little at a time it goes on to send.
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

from modelvault.errors import HubError, HubUnreachable
from modelvault.sources.net import certificates
from modelvault.sources.net.abortable import shut_down
from modelvault.sources.net.proxies import refused_by_proxy
from modelvault.sources.net.retry import QUESTION_LIMITS, Patience, is_busy, wait_hint
from modelvault.sources.net.urls import label_of

_log = logging.getLogger(__name__)

ATTEMPTS = QUESTION_LIMITS.attempts + 1
LONGEST_WAIT = QUESTION_LIMITS.longest_hint
"""Seconds; a server that asks for more is told to the user instead."""
ANSWER_LIMIT = 64 * 1024 * 1024
"""Largest answer to one API call, in bytes."""
ANSWER_SECONDS = 120.0
"""Whole time of one answer, from the request to its last byte."""
TIMEOUT = httpx2.Timeout(QUESTION_LIMITS.read_timeout, connect=QUESTION_LIMITS.connect_timeout)


class PatientClient(httpx2.Client):
    """An ``httpx2.Client`` with retries, time limits and a limit on answers."""

    def __init__(self, **options: Any) -> None:
        """Take what ``httpx2.Client`` takes."""
        super().__init__(**options)
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request until it is answered.

        Raises:
            HubUnreachable: No answer, or only refusals to work, within attempts and times.
            HubError: The answer is too large.
        """
        extensions = {"timeout": TIMEOUT.as_dict(), "trace": self._take_note}
        request.extensions = {**request.extensions, **extensions}
        if options.pop("stream", False):
            return super().send(request, stream=True, **options)
        patience = Patience(QUESTION_LIMITS, QUESTION_LIMITS.attempts)
        while True:
            answer = self._try(request, patience, options)
            if isinstance(answer, httpx2.Response):
                return answer
            _log.info("%s: asked again in %.1f s", label_of(str(request.url)), answer)
            time.sleep(answer)

    def _try(
        self, request: httpx2.Request, patience: Patience, options: dict[str, Any]
    ) -> httpx2.Response | float:
        """Return the answer, read; or the seconds until another attempt."""
        hint = None
        with self._cut_off(ANSWER_SECONDS) as expired:
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
                    hint = _requested_wait(response)
            except httpx2.TransportError as error:
                if expired.is_set():
                    raise _too_slow(request) from error
                if isinstance(error, httpx2.ProxyError) and str(error).startswith("407"):
                    raise refused_by_proxy() from error
                if _is_hopeless(error) or not patience.failed():
                    raise _unreachable(request, error) from error
        return patience.wait(hint)

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


def _requested_wait(response: httpx2.Response) -> float | None:
    """Return the seconds the server asks to wait; None where it does not say.

    Raises:
        HubUnreachable: It asks for longer than is reasonable to sit through.
    """
    seconds = wait_hint(response.headers, datetime.now(UTC))
    if seconds is not None and seconds > LONGEST_WAIT:
        raise HubUnreachable(
            f"{_origin(response.request)} limits requests: it asks to wait {seconds:.0f} seconds",
            hint=f"run this again in {seconds:.0f} seconds; what came is kept",
        )
    return seconds


def _refused(response: httpx2.Response) -> HubUnreachable:
    return HubUnreachable(
        f"{_origin(response.request)} answers {response.status_code} to every attempt",
        hint="run this again later; what came is kept",
    )


def _too_slow(request: httpx2.Request) -> HubUnreachable:
    return HubUnreachable(
        f"{_origin(request)}: an answer was not whole after {ANSWER_SECONDS:.0f} seconds",
        hint="run this again later; what came is kept",
    )


def _is_hopeless(error: BaseException) -> bool:
    """Return whether it is the certificate, which no further attempt will change."""
    return "CERTIFICATE" in str(error).upper()


def _unreachable(request: httpx2.Request, error: httpx2.TransportError) -> HubUnreachable:
    reason = str(error) or type(error).__name__
    hint = "check the network, the proxy variables and --endpoint"
    if _is_hopeless(error):
        hint = certificates.HINT
    return HubUnreachable(f"{_origin(request)} does not answer: {reason}", hint=hint)


def _origin(request: httpx2.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
