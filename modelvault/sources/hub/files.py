"""The files of one commit of a Hub's repository: where each is, how fast it comes, all of them.

Bytes come through our own engine or a library chosen instead; nothing here knows the Hub's
client.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.core.repository import HubRepository
from modelvault.sources.fetch.choice import EngineOptions, open_engine
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.file import OfferedFile, remote_files
from modelvault.sources.fetch.http.speed_probe import probe_speed
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.source import report_stored
from modelvault.store.blobs import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """What it takes to fetch files of one commit."""

    endpoint: str
    """Base URL of the Hub or mirror."""
    repository: HubRepository
    commit: str
    token: str | None
    connections: int
    """Downloads at once."""
    limit_rate: int | None
    """Bytes a second over all connections; None for no limit."""
    ca_bundle: Path | None
    """Certificates to believe; None for the system's."""
    engine: str
    """How large files come; see ``engines.choice``."""

    def measure(self, files: Sequence[OfferedFile]) -> Speed | None:
        """Fetch the beginning of the largest file and drop it; None where all are empty.

        Raises:
            FetchError: The file cannot be had.
        """
        largest = max(remote_files(files), key=lambda file: file.size, default=None)
        if largest is None or not largest.size:
            return None
        return probe_speed(largest, token=self.token, ca_bundle=self.ca_bundle)

    def deliver(self, plan: DeliveryPlan, store: Store, progress: Progress) -> Mapping[str, Digest]:
        """Bring what is missing into the store; return path → digest of each planned file.

        Raises:
            FetchError: A file could not be fetched; everything that came is kept.
            Corruption: Bytes do not match the declared digest, even after a second fetch.
            StorageError: The disk is full or refuses.
        """
        missing = remote_files(plan.missing)
        report_stored(plan, progress)
        with open_engine(self.engine, self._engine_options()) as engine:
            downloader = Downloader(
                store,
                token=self.token,
                connections=self.connections,
                limit_rate=self.limit_rate,
                ca_bundle=self.ca_bundle,
                progress=progress,
                engine=engine,
            )
            return {**plan.stored, **downloader.fetch_all(missing)}

    def _engine_options(self) -> EngineOptions:
        api = f"{self.endpoint}/api/{self.repository.kind}s/{self.repository.id}"
        return EngineOptions(
            token=self.token,
            connections=self.connections,
            ca_bundle=self.ca_bundle,
            xet_url=f"{api}/xet-read-token/{self.commit}",
        )
