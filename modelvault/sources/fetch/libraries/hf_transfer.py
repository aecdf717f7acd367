"""The hf-transfer engine: one whole file at a time, as fast as many connections go.

hf_transfer can neither resume nor go on after an error, and it deletes its target then. It
is given a second name (a hard link) of the partial's data file: no byte is copied, and what
it deletes is that name alone. The journal hears of the bytes when all of them are there.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from modelvault import fsio
from modelvault.errors import FetchError
from modelvault.sources.fetch.engine import EngineFailed, Inlet
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.libraries.child import Child
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions
from modelvault.sources.net.retry import MIB
from modelvault.version import __version__

NAME: Final = "hf-transfer"
SMALLEST: Final = 8 * MIB
"""Bytes below which starting a process costs more than it can win."""

_CHUNK = 4 * MIB
_RETRIES = 5


class HfTransferEngine:
    """Brings large files of which nothing is there yet."""

    name = NAME

    def __init__(
        self,
        questions: Questions,
        connection: Connection,
        *,
        smallest: int = SMALLEST,
    ) -> None:
        """Remember whom to ask; nothing is asked yet.

        Args:
            questions: Asks the Hub where a file is.
            connection: How many connections, whether a token opens the Hub, and where
                patience ends.
            smallest: Bytes below which a file is left to HTTP.
        """
        self._questions = questions
        self._connection = connection
        self._smallest = smallest

    def suits(self, file: RemoteFile) -> bool:
        """Return whether the file is large enough."""
        return file.size >= max(1, self._smallest)

    def bring(self, file: RemoteFile, inlet: Inlet) -> None:
        """Bring the whole file.

        Raises:
            EngineFailed: A part of it is there already, or the library fails.
            StorageError: The file system refuses.
        """
        if inlet.gaps() != [(0, file.size)]:
            raise EngineFailed("a part of it is here already, and it cannot resume")
        request: dict[str, str | int] = {
            "url": self._locate(file),
            "size": file.size,
            "connections": self._connection.connections,
            "chunk": _CHUNK,
            "retries": _RETRIES,
            "agent": f"modelvault/{__version__}",
        }
        with _second_name(inlet.path) as path:
            self._run({**request, "path": str(path)}, inlet)
            with fsio.storage_errors(inlet.path):
                found = inlet.path.stat().st_size
        if found != file.size:
            raise EngineFailed(f"it wrote {found} bytes instead of {file.size}")
        inlet.filled()

    def _run(self, request: dict[str, str | int], inlet: Inlet) -> None:
        told = 0
        with Child(
            "modelvault.sources.fetch.libraries.hf_transfer_child",
            request,
            settings={},
            window=self._connection.limits.stall_window,
        ) as child:
            for frame in child.frames():
                if not isinstance(frame, int):
                    raise EngineFailed("its process does not keep to the protocol")
                inlet.report(frame - told)
                told = frame

    def _locate(self, file: RemoteFile) -> str:
        """Return a URL that needs no token: the library would carry one too far."""
        try:
            reply = self._questions.head(file.url)
        except FetchError as error:
            raise EngineFailed(f"the Hub cannot be asked: {error.message}") from error
        if reply.away is not None:
            return reply.away
        if reply.status == 200 and self._connection.token is None:
            return reply.url
        raise EngineFailed(f"the Hub answers {reply.status} and names no other place")


@contextlib.contextmanager
def _second_name(path: Path) -> Iterator[Path]:
    """Yield another name of a file for the block; it may be gone at the end."""
    link = path.with_name(f".{path.name}.{NAME}")  # gc knows names that begin with a dot
    with fsio.storage_errors(link):
        link.unlink(missing_ok=True)
        try:
            os.link(path, link)
        except OSError as error:
            raise EngineFailed("this file system has no hard links") from error
    try:
        yield link
    finally:
        with fsio.storage_errors(link):
            link.unlink(missing_ok=True)
