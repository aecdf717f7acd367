"""What a web server says of the files beside a list: what stands there, how long each is.

Invariants:
    * No answer is read beyond the bytes that its question allows.
    * The size of a file is what its own server says, by ``HEAD`` or by its answer to a request
      for the first byte: storage elsewhere is often signed for ``GET`` alone.
    * Questions about many files are asked a few at a time, each with an end. Files that are not
      there are told together; a server that cannot be asked, or refuses, ends them all.
"""

import threading
from collections import deque
from collections.abc import Sequence

from modelvault.core.canonical import EXACT_INTEGER
from modelvault.errors import (
    AccessDenied,
    ModelVaultError,
    NotFound,
    SourceError,
    UpstreamChanged,
)
from modelvault.sources.fetch.file import OfferedFile, RemoteFile
from modelvault.sources.fetch.home import AGAIN, LOGIN, PlainHome
from modelvault.sources.fetch.http.answers import ContentRange
from modelvault.sources.net.cancel import Cancelled
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions, Reply
from modelvault.sources.net.urls import label_of, origin_of

HOME = PlainHome()
"""Who answers for every file beside a list."""

READ_SECONDS = 600.0
"""Whole time for a list of the largest size, as over a slow line."""

_MOST_ISSUES = 100
"""Files that are not there, before no other is asked for."""
_TICK = 0.1
"""Seconds between two looks at the workers."""
_GRACE = 0.6
"""Seconds that workers get to end when everything is being stopped."""


def read_file(url: str, connection: Connection, *, limit: int) -> bytes:
    """Return what stands at a URL.

    Args:
        url: Where.
        connection: How the server is spoken to.
        limit: Most bytes that it may have.

    Raises:
        NotFound: Nothing stands there.
        AccessDenied: The server wants a login, or another one.
        SourceUnreachable: No answer within the attempts or the time.
        SourceError: The answer is too long, or no answer to this.
    """
    with Questions(connection) as questions:
        reply = questions.read(url, limit=limit, seconds=READ_SECONDS)
    if reply.status == 200:
        return reply.content
    place = label_of(url)
    if reply.status in (404, 410):
        raise NotFound(f"{place}: the server has no such file", hint="check the address")
    if reply.status in (401, 403):
        raise AccessDenied(f"{place}: the server refuses access", hint=LOGIN)
    raise SourceError(f"{place}: the server answers {reply.status}", hint=AGAIN)


def describe_files(
    files: Sequence[tuple[OfferedFile, str]], connection: Connection
) -> list[RemoteFile]:
    """Return listed files as what can be fetched, once their server has said how long they are.

    Args:
        files: Each with its URL; the checksum of each is known.
        connection: How the server is spoken to, and how many questions it is asked at once.

    Raises:
        UpstreamChanged: A file is not there, or is declared as another; ``issues`` names each.
        AccessDenied: The server wants a login, or another one.
        SourceUnreachable: No answer within the attempts or the time.
        SourceError: The server does not say how long a file is.
    """
    with Questions(connection) as questions:
        return _Descriptions(files, questions).all(min(connection.connections, len(files)))


class _Descriptions:
    """Many files, described by a few workers; for one use."""

    def __init__(self, files: Sequence[tuple[OfferedFile, str]], questions: Questions) -> None:
        """Line up the files; nothing is asked yet.

        Args:
            files: Each with its URL.
            questions: Asks.
        """
        self._files = files
        self._questions = questions
        self._waiting = deque(range(len(files)))
        self._described: dict[int, RemoteFile] = {}
        self._changed: dict[int, UpstreamChanged] = {}
        """What is wrong with the file of each number, where something is."""
        self._failure: BaseException | None = None

    def all(self, workers: int) -> list[RemoteFile]:
        """Return the files, described.

        The calling thread asks nothing, and is thereby free to notice an interrupt.
        """
        threads = [
            threading.Thread(target=self._work, name=f"describe-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive() and not self._is_over:
                    thread.join(_TICK)
        finally:
            self._questions.cancel()
            for thread in threads:
                thread.join(_GRACE)
        if self._failure is not None:
            raise self._failure
        self._raise_changed()
        return [self._described[number] for number in range(len(self._files))]

    @property
    def _is_over(self) -> bool:
        """Whether nothing more has to be asked."""
        return self._failure is not None or len(self._changed) >= _MOST_ISSUES

    def _raise_changed(self) -> None:
        if not self._changed:
            return
        errors = [self._changed[number] for number in sorted(self._changed)]
        if len(errors) == 1:
            raise errors[0]
        many = "at least " if len(errors) >= _MOST_ISSUES else ""
        raise UpstreamChanged(
            f"{many}{len(errors)} files are not there as they are listed: {errors[0].message}",
            hint=errors[0].hint,
            issues=[error.message for error in errors[:_MOST_ISSUES]],
        ) from errors[0]

    def _work(self) -> None:
        try:
            while not self._is_over:
                number = self._waiting.popleft()
                try:
                    self._described[number] = _describe(*self._files[number], self._questions)
                except UpstreamChanged as error:
                    self._changed[number] = error
        except (IndexError, Cancelled):
            pass  # nothing is left to ask, or everything is being stopped
        except BaseException as error:  # raised again by the caller's thread
            self._failure = self._failure or error


def _describe(file: OfferedFile, url: str, questions: Questions) -> RemoteFile:
    if file.size is not None:
        return RemoteFile.of(file, url=url, home=HOME)
    reply = questions.head(url)
    size = _whole_size(reply) if reply.status == 200 and reply.away is None else None
    if size is None:
        reply = questions.probe(url)
        size = _size_of_probe(reply)
    remote = RemoteFile.of(file, url=url, home=HOME, size=size or 0)
    if origin_of(reply.url) == origin_of(url):
        HOME.check(remote, reply.headers)
    if size is None:
        raise _unknown_size(remote, reply)
    return remote


def _unknown_size(file: RemoteFile, reply: Reply) -> ModelVaultError:
    if reply.status not in (200, 206):
        return HOME.refusal(file, reply.status, reply.headers)
    return SourceError(
        f"{label_of(file.url)}: the server does not say how long this file is",
        hint="it may compress it on the way, or make it up as it goes: have it serve the file as"
        " it is",
    )


def _whole_size(reply: Reply) -> int | None:
    """Return the length that an answer about a whole file declares, if it is the file's own."""
    text = reply.headers.get("Content-Length", "")
    plain = reply.headers.get("Content-Encoding", "identity") == "identity"
    if not plain or not (text.isascii() and text.isdigit()) or len(text) > 16:
        return None
    return size if (size := int(text)) <= EXACT_INTEGER else None


def _size_of_probe(reply: Reply) -> int | None:
    """Return the length of the whole file, by the answer to a request for its first byte."""
    if reply.status == 200:
        return _whole_size(reply)
    text = reply.headers.get("Content-Range", "")
    if reply.status == 416:  # it has no first byte
        return 0 if text.strip() == "bytes */0" else None
    found = ContentRange.parse(text) if reply.status == 206 else None
    if found is None or found.total is None or found.total > EXACT_INTEGER:
        return None
    return found.total
