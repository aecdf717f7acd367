"""Bring files through an engine, with HTTP for all that the engine does not bring.

The files that do not suit the engine come first, over HTTP: they are the small ones that
an operator wants to see. The others follow one by one, since engines use many connections
for each; what an engine fails at is left to HTTP, which goes on from the same partial.
"""

import logging
from collections.abc import Callable, Sequence

from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.errors import Corruption, DigestMismatch, DownloadFailed, VaultBusy
from modelvault.sources.fetch.engine import Engine, EngineFailed, Inlet
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.flusher import Flusher
from modelvault.sources.fetch.incoming import IncomingFile
from modelvault.sources.fetch.stored import stored_digest
from modelvault.store.blobs import Store

_log = logging.getLogger(__name__)

OverHttp = Callable[[Sequence[RemoteFile]], dict[str, Digest]]
"""Fetches files, no two with the same content; returns key → digest."""

_BACKLOG = 32 * 1024 * 1024


class EngineWithFallback:
    """Fetches a list of files through one engine, once."""

    def __init__(self, engine: Engine, http: OverHttp, *, store: Store, progress: Progress) -> None:
        """Set up; nothing is sent yet.

        Args:
            engine: Who is asked first.
            http: Who fetches the rest.
            store: Where the files go.
            progress: Told about each file, under its path.
        """
        self._engine = engine
        self._http = http
        self._store = store
        self._progress = progress
        self._digests: dict[str, Digest] = {}
        self._failure: DownloadFailed | Corruption | None = None

    def run(self, files: Sequence[RemoteFile]) -> dict[str, Digest]:
        """Fetch everything; return key → digest of each file.

        A file whose bytes turn out to be wrong is fetched once more, over HTTP.

        Args:
            files: No two with the same content.

        Raises:
            KeyboardInterrupt: The user stopped it; what came is kept.
            FetchError: A file could not be fetched; what came is kept.
            Corruption: A file is not what was declared, over HTTP as well.
            StorageError: The disk is full or refuses.
        """
        ordered = sorted(files, key=lambda file: (file.size, file.path))
        suited = [file for file in ordered if self._engine.suits(file)]
        self._over_http([file for file in ordered if file not in suited])
        self._over_http([file for file in suited if not self._bring(file)])
        if self._failure is not None:
            raise self._failure
        return self._digests

    def _over_http(self, files: Sequence[RemoteFile]) -> None:
        try:
            self._digests |= self._http(files) if files else {}
        except (DownloadFailed, Corruption) as error:  # the other files may fare better
            self._failure = error

    def _bring(self, file: RemoteFile) -> bool:
        """Bring one file; return whether it is in the store."""
        if stored_digest(file, self._store) is not None:
            return False  # another process was faster: HTTP will find it, too
        try:
            incoming = IncomingFile(file, self._store, self._progress)
        except VaultBusy:
            return False  # HTTP knows how to wait for the other process
        note = "stopped, what came is kept"
        try:
            self._fill(file, incoming)
            self._digests[file.key] = incoming.publish()
            note = ""
        except EngineFailed as failure:
            note = f"{self._engine.name} gives up ({failure}); going on over HTTP"
        except DigestMismatch as error:
            note = f"{self._engine.name} brought wrong bytes ({error.hint}); again, over HTTP"
        finally:
            if note:
                _log.info("%s: %s", file.path, note)
            incoming.end(note=note)
        return file.key in self._digests

    def _fill(self, file: RemoteFile, incoming: IncomingFile) -> None:
        with Flusher(backlog=_BACKLOG) as flusher:
            inlet = Inlet(incoming, flusher)
            try:
                self._engine.bring(file, inlet)
            finally:
                inlet.settle()
            flusher.settle(incoming.partial)
        if gaps := incoming.gaps():
            raise EngineFailed(f"it left out {sum(end - start for start, end in gaps)} bytes")
