"""Small questions over HTTP: each bounded in bytes, in silence and in whole time.

A download is watched over by the thread that waits for it. A question has no other: a
server that sends a byte every few seconds is never silent, and would hold a pull up for ever.
Here a thread of its own cuts what has had its time.

Invariant: ``read`` and ``head`` end within their seconds, and a connection attempt. Where many
things are asked one after another (a list), the waits that a server asks for come on top: they are
bounded one by one, and told to the user.

Example:
    >>> with Questions(Connection()) as questions:                  # doctest: +SKIP
    ...     listing = questions.read("https://files.example/SHA256SUMS", limit=1024 * 1024)
"""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from modelvault.errors import SourceError, SourceUnreachable
from modelvault.sources.net.abortable import AbortableSocket
from modelvault.sources.net.cancel import Watchdog
from modelvault.sources.net.client import Answer, HttpClient, asked_to_wait
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.failures import TransientFailure
from modelvault.sources.net.retry import (
    QUESTION_LIMITS,
    WINDOW,
    Patience,
    is_busy,
    whole_seconds,
)
from modelvault.sources.net.urls import label_of, origin_of

_log = logging.getLogger(__name__)

QUESTION_SECONDS = 60.0
"""Whole time of one question, unless told otherwise: attempts and answer together."""

WORTH_TELLING = 5.0
"""Seconds of a wait that the user is told of."""

_TICK = 0.1
"""Seconds between two looks at what is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """Looked up in any spelling."""
    content: bytes
    """The whole body; empty after ``head``."""
    url: str
    """The URL that gave this answer, redirects followed."""
    away: str | None
    """Where the asked server sent us to another origin; None when it did not."""


class Questions:
    """Asks servers; use it in a ``with`` block. Safe to use from any thread."""

    def __init__(self, connection: Connection) -> None:
        """Read the proxy and certificate settings of the environment; nothing is sent yet.

        Args:
            connection: Token, certificates and times; its rate is not looked at.

        Raises:
            BadConfiguration: A proxy variable or certificate file cannot be used.
        """
        limits = connection.limits
        self._limits = dataclasses.replace(
            QUESTION_LIMITS,
            longest_hint=connection.longest_wait,
            read_timeout=max(limits.read_timeout, QUESTION_LIMITS.read_timeout),
        )
        self._waits_out = connection.longest_wait > WINDOW
        self._tell = connection.tell
        self._watchdog = Watchdog(stall_window=limits.stall_window, stall_bytes=0)
        self._client = HttpClient(connection, self._watchdog)
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="questions", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread that cuts what has had its time."""
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread and close idle connections."""
        self._closed.set()
        self._ticker.join()
        self._client.close()

    def client(self, seconds: float) -> HttpClient:
        """Return a client for several requests that end within some seconds, all together."""
        return self._client.until(time.monotonic() + whole_seconds(self._limits, seconds))

    def watching(self, socket: AbortableSocket) -> contextlib.AbstractContextManager[None]:
        """Watch over an answer's body while it is read in the block."""
        return self._watchdog.watching(socket)

    def sleep(self, seconds: float) -> None:
        """Sleep between two attempts."""
        self._watchdog.sleep(seconds)

    def head(self, url: str, *, seconds: float = QUESTION_SECONDS) -> Reply:
        """Return what a server says of a URL; a redirect to another origin is not followed.

        Args:
            url: What is asked about; its origin may see the token.
            seconds: Whole time.

        Raises:
            SourceUnreachable: No answer within the attempts or the time.
            SourceError: The redirects make no sense.
        """
        return self._ask(url, 0, seconds, lambda client: client.head(url))

    def read(self, url: str, *, limit: int, seconds: float = QUESTION_SECONDS) -> Reply:
        """Return what stands at a URL, redirects followed.

        Args:
            url: What is read; its origin may see the token.
            limit: Most bytes that the content may have.
            seconds: Whole time.

        Raises:
            SourceUnreachable: No answer within the attempts or the time.
            SourceError: The answer is longer than the limit, or the redirects make no sense.
        """
        home = origin_of(url)
        return self._ask(url, limit, seconds, lambda client: client.get(url, home=home))

    def probe(self, url: str, *, seconds: float = QUESTION_SECONDS) -> Reply:
        """Return what a server says of a file that it is asked the first byte of.

        Redirects are followed. Where ranges are ignored, the content is not read.

        Args:
            url: What is asked about; its origin may see the token.
            seconds: Whole time.

        Raises:
            SourceUnreachable: No answer within the attempts or the time.
            SourceError: The redirects make no sense.
        """
        home = origin_of(url)
        return self._ask(url, None, seconds, lambda c: c.get(url, home=home, start=0, end=1))

    def cancel(self) -> None:
        """Make every question fail that another thread is asking."""
        self._watchdog.cancel()

    def _ask(
        self, url: str, limit: int | None, seconds: float, send: Callable[[HttpClient], Answer]
    ) -> Reply:
        ends = time.monotonic() + whole_seconds(self._limits, seconds)
        patience = Patience(self._limits, self._limits.attempts)
        while True:
            try:
                answer = send(self._client.until(ends))
                with contextlib.closing(answer.body):
                    _log.debug("%s answers %d", label_of(answer.url), answer.status)
                    if not is_busy(answer.status):
                        return self._read(answer, limit)
                hint = asked_to_wait(answer)
                failure = TransientFailure(f"it answers {answer.status}", hint=hint)
            except TransientFailure as error:
                failure = error
            again = patience.failed()
            wait = patience.wait(failure.hint)
            if self._waits_out and (failure.hint or 0.0) <= self._limits.longest_hint:
                ends += wait  # asked for: it is not the answer that takes long
            if not again or time.monotonic() + wait >= ends:
                raise SourceUnreachable(
                    f"{label_of(url)}: no answer that can be used: {failure.reason}",
                    hint="check the network and the proxy settings, then run the command again",
                ) from failure
            _log.info("%s: %s; asked again in %.1f s", label_of(url), failure.reason, wait)
            if wait > WORTH_TELLING:
                self._tell(f"{origin_of(url)} limits requests: going on in {wait:.0f} s")
            self._watchdog.sleep(wait)

    def _read(self, answer: Answer, limit: int | None) -> Reply:
        pieces: list[bytes] = []
        left = limit or 0
        with self._watchdog.watching(answer.body.socket):
            while limit is not None and (data := answer.body.read(min(left + 1, 64 * 1024))):
                left -= len(data)
                if left < 0:
                    raise SourceError(f"{label_of(answer.url)}: more than {limit} bytes")
                pieces.append(data)
        return Reply(
            status=answer.status,
            headers=answer.headers,
            content=b"".join(pieces),
            url=answer.url,
            away=answer.away,
        )

    def _tick(self) -> None:
        while not self._closed.wait(_TICK):
            self._watchdog.cut_stalled()
