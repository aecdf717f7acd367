"""Where a file's bytes are right now: from its own URL to a signed one, again and again.

A signed URL is good for a while only. A worker that finds that one has stopped working reports
its *generation* as stale; the next request for bytes locates the file anew with a ``HEAD``
at its home, whose answer also tells an expired URL from lost access. Each of the home's
answers on the way is compared with what was pinned.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import NoReturn

from modelvault.errors import DownloadFailed, UpstreamChanged
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.answers import ContentRange, Verdict, judge
from modelvault.sources.net.body import Body
from modelvault.sources.net.client import Answer, HttpClient, asked_to_wait
from modelvault.sources.net.failures import TransientFailure
from modelvault.sources.net.retry import Limits, Patience
from modelvault.sources.net.urls import label_of, origin_of, plain_etag

_log = logging.getLogger(__name__)

_NO_HEAD = frozenset({405, 501})


class Stale(Exception):
    """The location has to be looked up again; the next request does so."""

    def __init__(self, wait: float) -> None:
        """Say when.

        Args:
            wait: Seconds to wait before that.
        """
        super().__init__()
        self.wait = wait


class RangesIgnored(Exception):
    """The server does not do ranges for this file: it has to come as one stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Bytes that are about to come."""

    body: Body
    start: int
    """Offset of the first byte in the file."""
    end: int
    """First byte that is not expected."""


class Location:
    """Locates one file; safe to use from any thread."""

    def __init__(self, file: RemoteFile, client: HttpClient, limits: Limits, *, ahead: bool):
        """Know only the file's own URL.

        Args:
            file: What is wanted.
            client: How to ask.
            limits: Where patience ends.
            ahead: Whether to ask its home with a ``HEAD`` first, so that many requests share
                its answer; for a single one following its redirect is cheaper.
        """
        self._file = file
        self._client = client
        self._limits = limits
        self._home = origin_of(file.url)
        self._url = None if ahead else file.url
        self._generation = 0
        self._etag = ""
        self._ignored: int | None = None
        self._lost = ""
        """Why no location works; set once, and its home is not asked again."""
        self._patience = Patience(limits, limits.relocations)
        self._mutex = threading.Lock()
        self._asking = threading.Lock()

    def open(self, start: int, end: int, *, whole: bool = False) -> Stream:
        """Ask for the bytes from ``start`` to before ``end``.

        Args:
            start: First byte.
            end: First byte after.
            whole: Ask without a range; the bytes then come from the file's beginning.

        Raises:
            TransientFailure: Another attempt may help, after a while.
            Stale: Another attempt will locate the file anew.
            RangesIgnored: Only a whole stream will do.
            FetchError: Nothing will help.
            NotFound: The repository or revision is gone.
        """
        url, generation = self._locate()
        whole = whole or (start == 0 and end == self._file.size)
        answer = self._client.get(url, home=self._home, start=None if whole else start, end=end)
        try:
            return self._accept(answer, generation, None if whole else start, end)
        except BaseException:
            answer.body.close()
            raise

    def progressed(self, amount: int) -> None:
        """Take note that ``amount`` bytes came."""
        with self._mutex:
            self._patience.progressed(amount)

    # -- judging answers

    def _accept(self, answer: Answer, generation: int, start: int | None, end: int) -> Stream:
        for headers in answer.home:
            self._file.home.check(self._file, headers)
        match judge(answer.status, answer.headers, start):
            case Verdict.WAIT:
                self._wait(answer)
            case Verdict.RANGE_IGNORED:
                self._range_ignored(generation)
            case Verdict.LOCATE:
                self._stale(generation, f"the server answers {answer.status}")
            case Verdict.TAKE:
                found = ContentRange.parse(answer.headers.get("Content-Range"))
                if start is not None and found is not None:
                    end = min(end, found.end)
                    self._check_total(found.total)
                self._check_etag(generation, plain_etag(answer.headers.get("ETag")))
        return Stream(body=answer.body, start=start or 0, end=end)

    def _check_total(self, total: int | None) -> None:
        if total not in (None, self._file.size):
            raise UpstreamChanged(
                f"{self._file.path}: it has {total} bytes now, instead of {self._file.size}",
                hint="pull again to pin the revision as it is now",
            )

    def _check_etag(self, generation: int, etag: str) -> None:
        """Another entity tag means other bytes, or another server: let its home decide."""
        with self._mutex:
            if generation != self._generation or not etag:
                return
            known, self._etag = self._etag, self._etag or etag
            self._ignored = None
        if known not in ("", etag):
            self._stale(generation, "the content's entity tag keeps changing")

    def _range_ignored(self, generation: int) -> NoReturn:
        with self._mutex:
            first = self._ignored
            if first is None:
                self._ignored = generation
        if first is not None and generation > first:
            raise RangesIgnored
        self._stale(generation, "the server ignores ranges")

    def _stale(self, generation: int, reason: str) -> NoReturn:
        """Forget the location, unless another worker did already; count how often."""
        with self._mutex:
            if generation != self._generation:
                raise Stale(0.0)
            self._generation += 1
            _log.info("%s: located anew: %s", self._file.path, reason)
            self._url, self._etag = None, ""
            if not self._patience.failed():
                self._lost = reason
                raise self._given_up()
            raise Stale(self._patience.wait(None) if self._patience.failures > 1 else 0.0)

    def _given_up(self) -> DownloadFailed:
        return DownloadFailed(
            f"{self._file.path}: {self._lost}, though {self._file.home.name} was asked for its"
            f" location {self._limits.relocations} times",
            hint="run the same command again later: what came is kept",
        )

    def _wait(self, answer: Answer) -> NoReturn:
        hint = asked_to_wait(answer)
        origin = origin_of(answer.url)
        if hint is not None:
            if hint > self._limits.longest_hint:
                raise DownloadFailed(
                    f"{self._file.path}: {origin} asks to wait {hint:.0f} seconds",
                    hint="run the same command again after that time: what came is kept",
                )
            self._client.hold(answer.url, hint)
        raise TransientFailure(f"{origin} answers {answer.status}", hint=hint)

    # -- asking its home

    def _locate(self) -> tuple[str, int]:
        with self._asking:
            with self._mutex:
                if self._lost:  # on another connection, whose error has not got about yet
                    raise self._given_up()
                url, generation = self._url, self._generation
            if url is None:
                url = self._ask()
                with self._mutex:
                    self._url = url
        return url, generation

    def _ask(self) -> str:
        began = time.monotonic()
        try:
            answer = self._client.head(self._file.url)
        except TransientFailure as failure:
            if failure.unreachable or not self._serves_bytes():
                raise
            return self._file.url  # a gateway that breaks off what it does not know
        answer.body.close()
        _log.debug(
            "%s: %s answers %d in %.2f s%s",
            self._file.path,
            self._file.home.name,
            answer.status,
            time.monotonic() - began,
            "" if answer.away is None else f", and names {label_of(answer.away)}",
        )
        for headers in answer.home:
            self._file.home.check(self._file, headers)
        if answer.away is not None:
            return answer.away
        if answer.status == 200:
            return answer.url
        if answer.status in _NO_HEAD:  # a simple mirror: its GET will redirect or answer
            return self._file.url
        if judge(answer.status, answer.headers, None) is Verdict.WAIT:
            self._wait(answer)
        closed = answer.status == 401  # that of a login, for every method alike
        if 400 <= answer.status < 500 and not closed and self._serves_bytes():
            return self._file.url
        raise self._file.home.refusal(self._file, answer.status, answer.headers)

    def _serves_bytes(self) -> bool:
        """Ask for the first byte: some gateways and storages let nothing but ``GET`` through."""
        answer = self._client.get(self._file.url, home=self._home, start=0, end=1)
        answer.body.close()
        if judge(answer.status, answer.headers, 0) is Verdict.WAIT:
            self._wait(answer)
        return answer.status in (200, 206)
