"""What the catalogue is asked about artefacts; ``Catalog`` is this and all that changes it."""

from collections.abc import Collection, Iterator

from sqlalchemy import text

from modelvault.catalog import records, resolution
from modelvault.catalog.database import Database
from modelvault.catalog.listing_query import EVERYTHING, ListingQuery
from modelvault.catalog.listing_view import parse_listing
from modelvault.catalog.usage import read_freed, read_usage
from modelvault.catalog.values import (
    CatalogedArtifact,
    ListingRow,
    UnsupportedArtifact,
    Usage,
)
from modelvault.core.digest import Digest
from modelvault.core.names import AnyReference


class Reading:
    """Questions about artefacts; threads may share it."""

    def __init__(self, database: Database) -> None:
        """Use a database whose schema is current.

        Args:
            database: Where the catalogue is.
        """
        self._database = database

    def find(self, reference: AnyReference) -> CatalogedArtifact:
        """Return the artefact that a reference means; ``resolution`` says how.

        Raises:
            ArtifactNotFound: There is none; the hint says what is near.
            BadReference: The start of a commit fits several revisions, or that of a digest
                several artefacts; ``issues`` lists them.
            UnsupportedVersion: Its record is of a newer release.
            CatalogDamaged: Its record was altered.
        """
        with self._database.reading() as session:
            return resolution.find(session, reference)

    def find_all(self, reference: AnyReference) -> tuple[CatalogedArtifact, ...]:
        """Return every artefact that a reference fits, the one that it means first.

        Raises:
            ArtifactNotFound: There is none.
            BadReference: As for ``find``.
            UnsupportedVersion: The records of all are of a newer release.
            CatalogDamaged: A record was altered.
        """
        with self._database.reading() as session:
            return tuple(resolution.find_all(session, reference))

    def artifact(self, digest: Digest) -> CatalogedArtifact:
        """Return the artefact of this identity.

        Raises:
            ArtifactNotFound: There is none.
            UnsupportedVersion: Its record is of a newer release.
            CatalogDamaged: Its record was altered.
        """
        with self._database.reading() as session:
            return records.read(session, digest)

    def artifacts(self) -> Iterator[CatalogedArtifact]:
        """Yield every artefact that this release reads, oldest first; see ``unsupported``."""
        return records.read_all(self._database)

    def unsupported(self) -> tuple[UnsupportedArtifact, ...]:
        """Return the artefacts that ``artifacts`` leaves out: those of a newer release."""
        with self._database.reading() as session:
            return tuple(records.read_unsupported(session))

    def listing(self, query: ListingQuery = EVERYTHING) -> list[ListingRow]:
        """Return artefacts as the lines of a list; see ``read_listing`` for a quicker way."""
        statement, values = query.statement()
        with self._database.reading() as session:
            return parse_listing(session.execute(text(statement), values))

    def usage(self) -> Usage:
        """Return how many bytes each model takes, and what of it others share."""
        with self._database.reading() as session:
            return read_usage(session)

    def freed_by(self, digests: Collection[Digest]) -> int:
        """Return how many bytes of files only these artefacts need: what removing them frees."""
        with self._database.reading() as session:
            return read_freed(session, digests)

    def parents(self, digest: Digest) -> tuple[CatalogedArtifact, ...]:
        """Return what an artefact was converted from, nearest first, as far as it is here."""
        with self._database.reading() as session:
            return tuple(records.read_parents(session, digest))

    def children(self, digest: Digest) -> tuple[CatalogedArtifact, ...]:
        """Return what was converted from an artefact, oldest first."""
        with self._database.reading() as session:
            return tuple(records.read_children(session, digest))

    def referenced_digests(self) -> set[Digest]:
        """Return the digests of all records, manifests and files: what gc must keep."""
        with self._database.reading() as session:
            return records.read_referenced(session)
