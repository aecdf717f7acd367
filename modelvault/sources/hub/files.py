"""The files of one commit of a Hub's repository: where each is, how fast it comes, all of them.

Bytes come through our own engine or a library chosen instead; nothing here knows the Hub's
client.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modelvault.core.digest import Digest, git_blob_hasher
from modelvault.core.ports import Progress
from modelvault.core.repository import HubRepository
from modelvault.errors import FetchError
from modelvault.sources.fetch.choice import open_engine
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.file import GitBlob, OfferedFile, RemoteFile, remote_files
from modelvault.sources.fetch.http.speed_probe import probe_speed
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.net.cancel import Cancelled
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions
from modelvault.sources.source import LARGEST_SMALL, report_stored
from modelvault.store.blobs import Store

_READERS = 4
"""Small files that are read at once."""
_SECONDS = 20.0
"""Whole time for one of them: what they say is worth no longer wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """What it takes to fetch files of one commit."""

    connection: Connection
    """Where the Hub is, and how it is spoken to."""
    repository: HubRepository
    commit: str
    engine: str
    """How large files come; see ``fetch.choice``."""

    def read_small(self, files: Sequence[OfferedFile]) -> Mapping[str, bytes]:
        """Return path → content of those that can be read now and are what is declared."""
        small = [file for file in remote_files(files) if 0 < file.size <= LARGEST_SMALL]
        if not small:
            return {}
        with Questions(self.connection) as questions, ThreadPoolExecutor(_READERS) as pool:
            try:
                contents = list(pool.map(lambda file: _read(file, questions), small))
            except BaseException:
                questions.cancel()
                raise
        return {file.path: data for file, data in zip(small, contents) if data is not None}

    def measure(self, files: Sequence[OfferedFile]) -> Speed | None:
        """Fetch the beginning of the largest file and drop it; None where all are empty.

        Raises:
            FetchError: The file cannot be had.
        """
        largest = max(remote_files(files), key=lambda file: file.size, default=None)
        if largest is None or not largest.size:
            return None
        return probe_speed(largest, self.connection)

    def deliver(self, plan: DeliveryPlan, store: Store, progress: Progress) -> Mapping[str, Digest]:
        """Bring what is missing into the store; return path → digest of each planned file.

        Raises:
            FetchError: A file could not be fetched; everything that came is kept.
            Corruption: Bytes do not match the declared digest, even after a second fetch.
            StorageError: The disk is full or refuses.
        """
        missing = remote_files(plan.missing)
        report_stored(plan, progress)
        api = f"{self.connection.endpoint}{self.repository.api_path}"
        xet_url = f"{api}/xet-read-token/{self.commit}"
        with open_engine(self.engine, self.connection, xet_url=xet_url) as engine:
            downloader = Downloader(store, self.connection, progress=progress, engine=engine)
            return {**plan.stored, **downloader.fetch_all(missing)}


def _read(file: RemoteFile, questions: Questions) -> bytes | None:
    """Return a file's content; None where it does not come, or is another."""
    try:
        reply = questions.read(file.url, limit=file.size, seconds=_SECONDS)
    except (FetchError, Cancelled):
        return None
    if reply.status != 200 or len(reply.content) != file.size:
        return None
    if not isinstance(file.checksum, GitBlob):
        return reply.content if Digest.of(reply.content) == file.checksum else None
    hasher = git_blob_hasher(file.size)
    hasher.update(reply.content)
    return reply.content if hasher.hexdigest() == file.checksum.hex else None
