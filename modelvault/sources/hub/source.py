"""The Hub as a source: what a repository holds, pinned to one commit.

Metadata comes through ``client`` and with it the Hub's own library, bytes through ``files``.

Invariant: everything that is offered belongs to the commit the offer names.

Example:
    >>> source = HubSource(ModelName.parse("acme/tiny"), None, Connection())
    >>> offer = source.offer()
    >>> digests = source.deliver(offer, plan_delivery(offer.files, store), store, Silence())
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from modelvault.core.artifact import HubOrigin
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.ports import Progress
from modelvault.core.repository import repository_of
from modelvault.sources.card import choose_fields, read_license
from modelvault.sources.fetch.choice import HTTP, check_engine
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.fetch.http.excerpts import Excerpts
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.hub.client import HubClient, Info
from modelvault.sources.hub.endpoint import REAL_HUB, check_token, parse_endpoint
from modelvault.sources.hub.files import HubFiles
from modelvault.sources.hub.home import HubHome
from modelvault.sources.hub.listing import Unusable, parse_name, read_entry, read_path
from modelvault.sources.hub.scan import read_scan
from modelvault.sources.naming import name_files
from modelvault.sources.net.connection import Connection
from modelvault.sources.source import Offer
from modelvault.store.blobs import Store


class HubSource:
    """One repository of a Hub, at one revision."""

    def __init__(
        self,
        model: ModelName,
        revision: str | None,
        connection: Connection,
        *,
        engine: str = HTTP,
        include: tuple[str, ...] = (),
        type_: str = "",
    ) -> None:
        """Name what to pull; nothing is asked yet.

        Args:
            model: The repository; a dataset by its name in the vault (``dataset_name``).
            revision: Branch, tag or commit; None for the default branch.
            connection: How the Hub or mirror is spoken to. Without an endpoint it is
                ``HF_ENDPOINT`` or the real Hub; without a token, ``HF_TOKEN``,
                ``HUGGING_FACE_HUB_TOKEN`` or the file that ``hf auth login`` writes.
            engine: How large files come; see ``fetch.choice``.
            include: Patterns of the files that were named with the repository.
            type_: The type of GGUF files that was named with it, such as ``Q4_K_M``.

        Raises:
            BadOption: The endpoint is not a plain ``http`` or ``https`` URL, or the engine
                cannot be used.
            BadConfiguration: The token cannot be sent.
        """
        check_engine(engine, limited=connection.rate is not None)
        endpoint = connection.endpoint or os.environ.get("HF_ENDPOINT") or REAL_HUB
        if connection.token is not None:
            check_token(connection.token)
        self._engine = engine
        self._model = model
        self.include = include
        """Patterns of the files that are meant; empty where only the repository was named."""
        self.type = type_
        """The type of GGUF files that is meant; empty for none."""
        self._connection = dataclasses.replace(connection, endpoint=parse_endpoint(endpoint))
        self._client = HubClient(model, revision, self._connection)

    def offer(self) -> Offer:
        """Return what the repository holds at the revision, pinned to its commit.

        Raises:
            RepositoryNotFound: No such repository, or it is hidden from this token.
            RevisionNotFound: No such branch, tag or commit.
            GatedRepository: The owner's terms have not been accepted for this token.
            AccessDenied: The token is refused.
            BadConfiguration: The stored token cannot be read or sent.
            HubUnreachable: No answer within the permitted attempts.
            HubError: The answer cannot be used.
        """
        info, commit = self._client.describe()
        return self._describe(info, commit)

    def find_revision(self) -> str:
        """Return the commit that the revision stands for now; asks one question.

        Raises:
            NotFound: No such repository or revision.
            FetchError: As ``offer``.
        """
        return self._client.describe()[1]

    def read_small(self, files: Sequence[OfferedFile]) -> Mapping[str, bytes]:
        """Return path → content of those that can be read now and are what the Hub declares."""
        return self._files("").read_small(files)

    def measure(self, files: Sequence[OfferedFile]) -> Speed | None:
        """Fetch the beginning of the largest file and drop it; None where all are empty.

        Raises:
            FetchError: The file cannot be had.
        """
        return self._files("").measure(files)

    def excerpts(self, *, most: int) -> Excerpts:
        """Return what opens the repository's files for reading in parts.

        Args:
            most: Bytes that are fetched at most, all files together.
        """
        return Excerpts(self._located_connection(), most=most)

    def deliver(
        self, offer: Offer, plan: DeliveryPlan, store: Store, progress: Progress
    ) -> Mapping[str, Digest]:
        """Bring what is missing into the store; return path → digest of each planned file.

        Raises:
            SourceError: The offer is not a Hub's.
            FetchError: A file could not be fetched; everything that came is kept.
            Corruption: Bytes do not match the declared digest, even after a second fetch.
            StorageError: The disk is full or refuses.
        """
        return self._files(offer.revision).deliver(plan, store, progress)

    def _located_connection(self) -> Connection:
        return dataclasses.replace(
            self._connection, token=self._client.find_token(), endpoint=self._client.endpoint
        )

    def _files(self, commit: str) -> HubFiles:
        return HubFiles(
            connection=self._located_connection(),
            repository=repository_of(self._model),
            commit=commit,
            engine=self._engine,
        )

    def _describe(self, info: Info, commit: str) -> Offer:
        scan = read_scan(getattr(info, "security_repo_status", None))
        asked = repository_of(self._model)
        answered = parse_name(info.id, asked) or asked
        base = f"{self._client.endpoint}/{answered.path}/resolve/{commit}"
        home = HubHome(commit=commit)
        try:
            entries = self._client.list_files(info, commit)
            naming = name_files([read_path(entry) for entry in entries])
            files = [
                read_entry(entry, scan.files, naming.recorded, base=base, home=home)
                for entry in entries
            ]
        except Unusable as error:
            raise self._client.unusable(str(error)) from error
        card = self._client.read_card(info)
        renamed = [f"{asked.path} is now called {answered.path} on the Hub"]
        if answered == asked:
            renamed = []
        return Offer(
            model=self._model,
            revision=commit,
            requested=self._client.requested,
            files=tuple(sorted(files, key=lambda file: file.path)),
            license=read_license(card),
            card=choose_fields(card),
            origin=HubOrigin(
                endpoint=self._connection.endpoint,
                commit=commit,
                requested=self._client.requested,
                gated=bool(info.gated),
                private=bool(info.private),
            ),
            notes=(*self._client.notes, *renamed, *naming.notes),
            scan=scan.summary,
        )
