"""Download files of any server into the store: resumed, verified, durable.

What is promised:

* Nothing becomes a blob before every byte of it was hashed as it stands on disk.
* Killed at any moment and started again, a download keeps what its journals vouch for.
* It ends: every kind of failure has a limit (``policy.Limits``), and an interrupt takes
  less than a second.
* A token is shown to the origin of a file's own URL and to nobody else.

The work is divided so: ``http.workers`` hands out segments to threads, ``http.transfer``
brings one segment through all troubles, ``http.location`` knows where a file's bytes are at
the moment, ``incoming`` is one file under way, ``flusher`` makes bytes durable, and ``net``
speaks HTTP, cuts what stalls and counts attempts.

Example:
    >>> downloader = Downloader(store, Connection())  # doctest: +SKIP
    >>> downloader.fetch_all(files)                 # doctest: +SKIP
    {'model.safetensors': Digest(hex='…')}
"""

from collections.abc import Sequence

from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import SourceError
from modelvault.sources.fetch.engine import Engine
from modelvault.sources.fetch.fallback import EngineWithFallback
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.order import Order
from modelvault.sources.fetch.http.workers import Workers
from modelvault.sources.fetch.stored import stored_digest
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.retry import MIB
from modelvault.store.blobs import Store

_SEGMENT = 32 * MIB
_DAY = 24 * 3600.0


class Downloader:
    """Fetches files into one store; the caller keeps ``gc`` away (``Store.writing``)."""

    def __init__(
        self,
        store: Store,
        connection: Connection,
        *,
        progress: Progress | None = None,
        segment: int = _SEGMENT,
        patience: float = _DAY,
        engine: Engine | None = None,
    ) -> None:
        """Set up; nothing is sent yet.

        Args:
            store: Where the files go.
            connection: Token, certificates, connections, rate and times.
            progress: Told about each file, under its path.
            segment: Bytes that one request asks for at most; also about what a kill costs on
                each connection.
            patience: Seconds to wait for another process that fetches the same file.
            engine: Asked first for the files that suit it.
        """
        self._progress = progress or Silence()
        self._order = Order(
            store=store,
            connection=connection,
            progress=self._progress,
            segment=segment,
            patience=patience,
        )
        self._engine = engine

    def fetch(self, file: RemoteFile) -> Digest:
        """Fetch one file; see ``fetch_all``."""
        return self.fetch_all([file])[file.path]

    def fetch_all(self, files: Sequence[RemoteFile]) -> dict[str, Digest]:
        """Fetch files into the store; return path → digest of each.

        Blobs that the store holds are skipped, and files with the same content are fetched
        once. When one file fails, the others still come, unless nothing can.

        Args:
            files: What to fetch.

        Raises:
            KeyboardInterrupt: The user stopped it; what came is kept.
            FetchError: A file could not be fetched; what came is kept. ``issues`` lists all
                files when there are several.
            NotFound: The repository or revision is gone.
            DigestMismatch: A file's bytes are wrong, even after a second fetch; both lots
                are in quarantine.
            NoSpace: Not everything fits on the disk; checked before the first byte.
            StorageError: The disk refuses.
            BadConfiguration: A proxy or certificate setting cannot be used.
        """
        wanted = self._distinct(files)
        missing = []
        digests: dict[str, Digest] = {}
        for file in wanted.values():
            digest = stored_digest(file, self._order.store)
            if digest is not None:
                digests[file.key] = digest
            else:
                missing.append(file)
        self._require_space(missing)
        if missing:
            digests |= self._bring(missing)
        self._report_shared(files, missing)
        return {file.path: digests[file.key] for file in files}

    def _bring(self, files: Sequence[RemoteFile]) -> dict[str, Digest]:
        """Fetch files that are missing, no two with the same content."""
        if self._engine is None:
            return Workers(self._order, files).run()
        delivery = EngineWithFallback(
            self._engine,
            lambda rest: Workers(self._order, rest).run(),
            store=self._order.store,
            progress=self._progress,
        )
        return delivery.run(files)

    def _distinct(self, files: Sequence[RemoteFile]) -> dict[str, RemoteFile]:
        """Return one file for each content."""
        distinct: dict[str, RemoteFile] = {}
        for file in files:
            known = distinct.setdefault(file.key, file)
            if known.size != file.size:
                raise SourceError(
                    f"{known.path} and {file.path}: the same checksum is declared with"
                    f" {known.size} and {file.size} bytes"
                )
        return distinct

    def _require_space(self, files: Sequence[RemoteFile]) -> None:
        """Check that what is not reserved yet by an earlier run fits on the disk."""
        self._order.store.require_space((file.key, file.size) for file in files)

    def _report_shared(self, files: Sequence[RemoteFile], fetched: Sequence[RemoteFile]) -> None:
        """Let the progress show also the files for which nothing had to be done."""
        told = {file.path for file in fetched}
        for file in files:
            if file.path not in told:
                self._progress.begin(file.path, total=file.size, done=file.size)
                self._progress.end(file.path, note="already in the vault")
