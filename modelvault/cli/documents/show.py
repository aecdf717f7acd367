"""What ``show`` prints."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from modelvault.app.conversion.measured import measured_of
from modelvault.app.housekeeping import Shown
from modelvault.cli.documents.artifacts import ArtifactName, names_of
from modelvault.cli.documents.document import Document
from modelvault.cli.documents.quality import Quality
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.names import Reference

_RECORD_LIMIT = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFile(Document):
    """One file of an artefact."""

    path: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutFiles(Document):
    """Files that a pull left out for one reason."""

    reason: str
    count: int
    paths: tuple[str, ...]
    """The first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownArtifact(Document):
    """Everything known of one artefact."""

    reference: Reference
    artifact: Digest
    added_at: dt.datetime
    size: int
    """Bytes of all its files."""
    record: Mapping[str, Any] = field(hash=False)
    """As docs/formats/records.md has it."""
    files: tuple[ShownFile, ...]
    quality: Quality | None
    """Null for an artefact that was not converted."""
    parents: tuple[ArtifactName, ...]
    """What it was converted from, nearest first."""
    children: tuple[ArtifactName, ...]
    """What was converted from it."""
    left_out: tuple[LeftOutFiles, ...]
    """What the pull that brought it here left out; empty for what came otherwise."""

    @classmethod
    def of(cls, shown: Shown) -> Self:
        """Return an artefact for programs."""
        artifact = shown.cataloged.artifact
        record = canonical.parse(artifact.encode(), limit=_RECORD_LIMIT)
        if not isinstance(record, dict):
            raise TypeError("the record of an artefact is a JSON object")
        measured = measured_of(artifact)
        return cls(
            reference=artifact.reference,
            artifact=artifact.digest,
            added_at=shown.cataloged.created_at,
            size=shown.manifest.size,
            record=record,
            files=tuple(
                ShownFile(path=entry.path, size=entry.size, digest=entry.digest)
                for entry in shown.manifest.files
            ),
            quality=Quality.of(measured) if measured else None,
            parents=names_of(shown.parents),
            children=names_of(shown.children),
            left_out=tuple(
                LeftOutFiles(reason=group.reason, count=group.count, paths=group.paths)
                for group in shown.left_out
            ),
        )
