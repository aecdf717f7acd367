"""The HTTP client that the Hub's library talks through: patient, and bounded.

The library itself waits for ever, does not retry most API calls, obeys any waiting time a
server asks for, and reads answers of any length into memory. This client puts limits on
all four; whatever passes them is an error of this project and needs no further retry.

Invariants:
    * A request is tried at most ``ATTEMPTS`` times; one wait is at most ``LONGEST_WAIT``.
    * An answer of more than ``ANSWER_LIMIT`` bytes is refused before it is in memory,
      decompressed or not.
"""

import contextlib
import random
import time
from datetime import UTC, datetime
from typing import Any

import httpx2

from modelvault.errors import HubError, HubUnreachable
from modelvault.sources.net import certificates
from modelvault.sources.net.proxies import refused_by_proxy
from modelvault.sources.net.retry import wait_hint

ATTEMPTS = 4
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more is told to the user instead."""
FIRST_WAIT = 0.5
"""Seconds before the second attempt, where the server does not say; doubles each time."""
ANSWER_LIMIT = 64 * 1024 * 1024
"""Largest answer to one API call, in bytes."""
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)

_BUSY = {408, 429, 500, 502, 503, 504}


class PatientClient(httpx2.Client):
    """An ``httpx2.Client`` with retries, time limits and a limit on answers."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request until it is answered.

        Raises:
            HubUnreachable: No answer, or only refusals to work, within the attempts.
            HubError: The answer is too large.
        """
        request.extensions = {**request.extensions, "timeout": TIMEOUT.as_dict()}
        if options.pop("stream", False):
            return super().send(request, stream=True, **options)
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                response = super().send(request, stream=True, **options)
                with contextlib.closing(response):
                    if response.status_code == 407:
                        raise refused_by_proxy()
                    if response.status_code not in _BUSY:
                        return _read(response)
                    if last:
                        raise _refused(response)
                    seconds = _requested_wait(response)
            except httpx2.TransportError as error:
                if isinstance(error, httpx2.ProxyError) and str(error).startswith("407"):
                    raise refused_by_proxy() from error
                if last or _is_hopeless(error):
                    raise _unreachable(request, error) from error
                seconds = None
            time.sleep(_backoff(attempt) if seconds is None else seconds)
        raise AssertionError("the last attempt returns or raises")


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


def _backoff(attempt: int) -> float:
    spread = random.uniform(0.75, 1.25)  # noqa: S311 - spreads clients, hides nothing
    return FIRST_WAIT * float(2 ** (attempt - 1)) * spread


def _refused(response: httpx2.Response) -> HubUnreachable:
    return HubUnreachable(
        f"{_origin(response.request)} answers {response.status_code} to every attempt",
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
