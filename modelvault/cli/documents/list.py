"""What ``list`` prints."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from modelvault.catalog.values import ListingRow
from modelvault.cli.documents.document import Document, parse_time
from modelvault.core.digest import Digest
from modelvault.core.names import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedArtifact(Document):
    """One artefact of the vault."""

    reference: Reference
    artifact: Digest
    """Digest of its record: its identity."""
    format: str
    quantization: str | None
    license: str | None
    size: int
    """Bytes of all its files."""
    file_count: int
    labels: tuple[str, ...]
    """Branches and tags that stand for its revision."""
    added_at: dt.datetime
    installed: tuple[str, ...]
    """Runtimes it is installed into."""

    @classmethod
    def of(cls, row: ListingRow) -> Self:
        """Return one row for programs."""
        return cls(
            reference=row.reference,
            artifact=Digest.parse(row.digest),
            format=row.format,
            quantization=row.quantization,
            license=row.license,
            size=row.size,
            file_count=row.file_count,
            labels=row.labels,
            added_at=parse_time(row.created_at),
            installed=row.targets,
        )
