"""A list of checksums as a source: a model on any web server, Artifactory or Nexus among them.

The list names the files and what each must hash to; they stand beside it and below, on the
same server. Whoever can alter the list can alter the model, so that it comes over https, or is
pinned by its own digest.

Invariants:
    * No file is fetched whose SHA-256 the list does not say, nor from another server's URL.
    * What the Hub's tools would log in with is never looked at.

Example:
    >>> url = SumsUrl.parse("https://files.example/tiny/SHA256SUMS")
    >>> source = SumsSource(url, ModelName.parse("acme/tiny"), Connection())
    >>> offer = source.offer()
    >>> files = source.settle_sizes(offer.files)
    >>> digests = source.deliver(offer, plan_delivery(files, store), store, Silence())
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelvault.core.artifact import License, SumsOrigin
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.ports import Progress
from modelvault.core.sums import SUMS_LIMIT, SumsList, SumsUrl, parse_sums
from modelvault.errors import (
    BadOption,
    FetchError,
    NotFound,
    SourceError,
    UpstreamChanged,
)
from modelvault.sources.card import CARD_LIMIT, README, read_card
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.file import OfferedFile, RemoteFile, remote_files
from modelvault.sources.fetch.http.excerpts import Excerpts
from modelvault.sources.fetch.http.speed_probe import probe_speed
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.naming import name_files
from modelvault.sources.net.connection import Connection
from modelvault.sources.source import LARGEST_SMALL, Offer, report_stored
from modelvault.sources.sums.netrc_login import find_login
from modelvault.sources.sums.server import describe_files, read_file
from modelvault.store.blobs import Store

_EMPTY = Digest.of(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile(OfferedFile):
    """A file as its list spells it."""

    listed: str
    """Path in the list, from which its URL is made."""


class SumsSource:
    """The files that one list names."""

    def __init__(
        self,
        url: SumsUrl,
        model: ModelName,
        connection: Connection,
        *,
        pinned: Digest | None = None,
    ) -> None:
        """Name what to pull; nothing is asked yet.

        Args:
            url: Where the list is.
            model: What the model is called in the vault.
            connection: How the server is spoken to; its endpoint is not looked at. Without a
                token it is the login that ``~/.netrc`` holds for the list's server, if any.
            pinned: What the list's bytes must hash to; None for whatever https brings.

        Raises:
            BadOption: The list would come over plain http and nothing pins it, or a token would
                go there.
            BadConfiguration: ``~/.netrc`` cannot be used.
        """
        if pinned is None and not url.is_secure:
            raise BadOption(
                f"{url}: anybody on the way could alter this list",
                hint="name the https address, or pin the list with --sums-digest sha256:…, as"
                " 'sha256sum SHA256SUMS' prints it where the list was made",
            )
        if connection.token is not None and not url.is_secure:
            raise BadOption(
                f"{url}: a token is not sent over plain http",
                hint="name the https address, or leave out --token-file",
            )
        login = find_login(url.host) if connection.token is None and url.is_secure else None
        self._url = url
        self._model = model
        self._pinned = pinned
        self._connection = dataclasses.replace(connection, login=login)

    def offer(self) -> Offer:
        """Return what the list names; sizes are not known yet, but for empty files.

        Raises:
            NotFound: No such list.
            AccessDenied: The server wants a login, or another one.
            UpstreamChanged: The list is not the one that is pinned.
            SourceUnreachable: No answer within the attempts or the time.
            SourceError: The answer is no list of checksums.
        """
        sums = self._read_list()
        naming = name_files(list(sums.files))
        license_, card, notes = self._read_card(sums)
        requested = self._url.name if self._pinned is None else self._pinned.hex[:40]
        return Offer(
            model=self._model,
            revision=sums.revision,
            requested=requested,
            files=tuple(
                sorted(
                    (
                        ListedFile(
                            path=naming.recorded[path],
                            size=0 if digest == _EMPTY else None,
                            checksum=digest,
                            listed=path,
                        )
                        for path, digest in sums.files.items()
                    ),
                    key=lambda file: file.path,
                )
            ),
            license=license_,
            card=card,
            origin=SumsOrigin(url=str(self._url), sums=sums.digest, requested=requested),
            notes=(*notes, *naming.notes),
        )

    def read_small(self, files: Sequence[OfferedFile]) -> Mapping[str, bytes]:
        """Return path → content of those that can be read now and are what the list says."""
        contents: dict[str, bytes] = {}
        for file in files:
            if not 0 < (file.size or 0) <= LARGEST_SMALL:
                continue
            with contextlib.suppress(FetchError, NotFound):
                data = read_file(self._url_of(file), self._connection, limit=file.known_size)
                if Digest.of(data) == file.sha256:
                    contents[file.path] = data
        return contents

    def find_revision(self) -> str:
        """Return the revision that the list stands for now; asks one question.

        Raises:
            NotFound: No such list.
            FetchError: As ``offer``.
        """
        return self._read_list().revision

    def settle_sizes(self, files: Sequence[OfferedFile]) -> tuple[OfferedFile, ...]:
        """Return the same files with their sizes, as the server says them.

        Raises:
            UpstreamChanged: A file is not there, or is declared as another.
            FetchError: The server cannot be reached, refuses, or does not say.
        """
        located = [(file, self._url_of(file)) for file in files]
        return tuple(describe_files(located, self._connection))

    def measure(self, files: Sequence[OfferedFile]) -> Speed | None:
        """Fetch the beginning of the largest file and drop it; None where all are empty.

        Raises:
            FetchError: The file cannot be had.
        """
        largest = max(remote_files(files), key=lambda file: file.size, default=None)
        if largest is None or not largest.size:
            return None
        return probe_speed(largest, self._connection)

    def excerpts(self, *, most: int) -> Excerpts:
        """Return what opens the listed files for reading in parts.

        Args:
            most: Bytes that are fetched at most, all files together.
        """
        return Excerpts(self._connection, most=most)

    def deliver(
        self, offer: Offer, plan: DeliveryPlan, store: Store, progress: Progress
    ) -> Mapping[str, Digest]:
        """Bring what is missing into the store; return path → digest of each planned file.

        Raises:
            SourceError: The offer is another source's.
            FetchError: A file could not be fetched; everything that came is kept.
            Corruption: Bytes do not match the listed digest, even after a second fetch.
            StorageError: The disk is full or refuses.
        """
        origin = offer.origin
        if not isinstance(origin, SumsOrigin) or origin.url != str(self._url):
            raise SourceError(f"{offer.model} was offered by another source than {self._url}")
        missing = remote_files(plan.missing)
        report_stored(plan, progress)
        downloader = Downloader(store, self._connection, progress=progress)
        return {**plan.stored, **downloader.fetch_all(missing)}

    def _url_of(self, file: OfferedFile) -> str:
        if isinstance(file, RemoteFile):
            return file.url
        return self._url.url_of(file.listed if isinstance(file, ListedFile) else file.path)

    def _read_list(self) -> SumsList:
        data = read_file(str(self._url), self._connection, limit=SUMS_LIMIT)
        found = Digest.of(data)
        if self._pinned not in (None, found):
            raise UpstreamChanged(
                f"{self._url}: the list is {found} instead of {self._pinned}",
                hint="ask whoever gave you the digest which list it belongs to",
            )
        return parse_sums(data, where=self._url)

    def _read_card(self, sums: SumsList) -> tuple[License | None, dict[str, str], tuple[str, ...]]:
        """Return the licence and the card that a README declares, and what to note of it."""
        declared = sums.files.get(README)
        if declared is None:
            return None, {}, ()
        try:
            data = read_file(self._url.url_of(README), self._connection, limit=CARD_LIMIT)
        except (FetchError, NotFound) as error:
            return None, {}, (f"{README}: {error.message}; no licence is recorded",)
        if Digest.of(data) != declared:
            return None, {}, (f"{README}: not the one that is listed; no licence is recorded",)
        return read_card(data)
