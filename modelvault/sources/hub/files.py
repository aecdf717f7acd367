"""The files of one commit of a Hub's repository: where each is, how fast it comes, all of them.

Bytes come through our own engine or a library chosen instead; nothing here knows the Hub's
client.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.core.repository import HubRepository
from modelvault.sources.fetch.choice import open_engine
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.file import OfferedFile, remote_files
from modelvault.sources.fetch.http.speed_probe import probe_speed
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.net.connection import Connection
from modelvault.sources.source import report_stored
from modelvault.store.blobs import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """What it takes to fetch files of one commit."""

    connection: Connection
    """Where the Hub is, and how it is spoken to."""
    repository: HubRepository
    commit: str
    engine: str
    """How large files come; see ``fetch.choice``."""

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
        api = f"{self.connection.endpoint}/api/{self.repository.kind}s/{self.repository.id}"
        xet_url = f"{api}/xet-read-token/{self.commit}"
        with open_engine(self.engine, self.connection, xet_url=xet_url) as engine:
            downloader = Downloader(store, self.connection, progress=progress, engine=engine)
            return {**plan.stored, **downloader.fetch_all(missing)}
