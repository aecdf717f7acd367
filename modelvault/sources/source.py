"""What every source of models offers, wherever it gets the bytes from.

A source first makes an *offer*: one pinned revision, its files, what is known of them. The
caller selects, and plans what has to come (``fetch.stored``); the source then *delivers* the
selected files into the store, and no byte it delivers has escaped a hash.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from modelvault.core.artifact import HubOrigin, License, Origin, SumsOrigin
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.ports import Progress
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.store.blobs import Store

if TYPE_CHECKING:  # the interface for programs loads this module, and no client of HTTP
    from modelvault.sources.fetch.http.excerpts import Excerpts

LARGEST_SMALL = 16 * 1024 * 1024
"""Bytes of the largest file that is read before it is delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One revision that can be pulled."""

    model: ModelName
    revision: str
    """40 hex digits that pin the whole offer: another content has another revision. Empty for
    folders, whose revision is known once they are hashed (see ``Artifact.revision``)."""
    requested: str = ""
    """What the user asked for and the revision was found by: a branch, a tag, the revision
    itself. Empty where there is nothing to ask for by name."""
    files: tuple[OfferedFile, ...]
    """Everything the revision holds, sorted by path; a name is checked when it is chosen."""
    license: License | None
    card: Mapping[str, str] = field(hash=False)
    """Chosen fields of the model card, as in ``Artifact.card``."""
    origin: Origin
    notes: tuple[str, ...] = ()
    """What the user should know before pulling, one sentence each."""
    scan: str = ""
    """What the Hub's scanner says of the whole repository, in words; empty where unknown."""

    def asked_as(self, requested: str) -> "Offer":
        """Return the same offer as if it had been asked for by another name."""
        origin = self.origin
        if isinstance(origin, HubOrigin | SumsOrigin):
            origin = dataclasses.replace(origin, requested=requested)
        return dataclasses.replace(self, requested=requested, origin=origin)


class Source(Protocol):
    """A pinned revision somewhere; ``HubSource`` and ``FolderSource`` are the real ones."""

    def offer(self) -> Offer:
        """Return what can be pulled, without fetching file contents.

        Raises:
            NotFound: No such repository, revision or folder.
            FetchError: The source cannot be reached or refuses.
        """

    def deliver(
        self, offer: Offer, plan: DeliveryPlan, store: Store, progress: Progress
    ) -> Mapping[str, Digest]:
        """Bring what is missing into the store; return path → digest of each planned file.

        Resumes what an earlier run left in the store's partials. Every file is checked
        against what the offer declares.

        Args:
            offer: What a source of the same kind offered, in this process.
            plan: Which of its files are wanted, and what of them the store has.
            store: Where they go; the caller keeps ``gc`` away.
            progress: Told about each file, under its path.

        Raises:
            SourceError: The offer is another source's.
            FetchError: A file could not be fetched; everything that came is kept.
            Corruption: Bytes do not match the declared digest, even after a second fetch.
            StorageError: The disk is full or refuses.
        """


class FollowableSource(Source, Protocol):
    """A source whose name may stand for another revision later."""

    def find_revision(self) -> str:
        """Return the revision that the name stands for now, by one small question.

        Raises:
            NotFound: No such repository or revision.
            FetchError: The source cannot be reached or refuses.
        """


@runtime_checkable
class Unsized(Protocol):
    """A source whose listing leaves out how long its files are."""

    def settle_sizes(self, files: Sequence[OfferedFile]) -> tuple[OfferedFile, ...]:
        """Return the same files with their sizes; asked for the selected ones alone.

        Raises:
            FetchError: The source cannot be reached, refuses, or does not say.
        """


@runtime_checkable
class Narrowed(Protocol):
    """A source that was named together with the files that are meant."""

    @property
    def include(self) -> tuple[str, ...]:
        """Patterns of these files; empty where only the source was named."""

    @property
    def type(self) -> str:
        """The type of GGUF files that was named, such as ``Q4_K_M``; empty for none."""


@runtime_checkable
class Readable(Protocol):
    """A source whose small files can be read before anything is delivered."""

    def read_small(self, files: Sequence[OfferedFile]) -> Mapping[str, bytes]:
        """Return path → content of those that can be read now and are what the offer declares.

        Args:
            files: Some of an offer's, at most ``LARGEST_SMALL`` bytes each; others are left out.
        """


@runtime_checkable
class Measurable(Protocol):
    """A source whose bytes come over a network, as fast as that happens to be."""

    def measure(self, files: Sequence[OfferedFile]) -> Speed | None:
        """Fetch the beginning of one file and drop it; None where there are no bytes.

        Raises:
            FetchError: The source cannot be reached or refuses.
        """


@runtime_checkable
class Excerptable(Protocol):
    """A source whose files can be read in parts, where they are."""

    def excerpts(self, *, most: int) -> "Excerpts":
        """Return what opens offered files, for a ``with`` block.

        Args:
            most: Bytes that are fetched at most, all files together.
        """


def report_stored(plan: DeliveryPlan, progress: Progress) -> None:
    """Let the progress show the files for which nothing has to be done."""
    for file in plan.files:
        if file.path in plan.stored:
            progress.begin(file.path, total=file.size, done=file.known_size)
            progress.end(file.path, note="already in the vault")
