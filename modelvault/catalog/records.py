"""Artefacts read back from the catalogue, as values.

A record that leaves the catalogue is checked against its digest: a database that another
program wrote to cannot make an artefact look like another. A record of a newer release is no
damage: whoever asks for several artefacts gets the others, and ``read_unsupported`` names it.
"""

import contextlib
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelvault.catalog.database import Database
from modelvault.catalog.rows import (
    ArtifactRow,
    FileRow,
    LabelRow,
    LineageRow,
    ModelRow,
    RevisionRow,
)
from modelvault.catalog.values import CatalogedArtifact, UnsupportedArtifact
from modelvault.core.artifact import ARTIFACT_TYPE, Artifact
from modelvault.core.digest import Digest
from modelvault.errors import (
    ArtifactNotFound,
    CatalogDamaged,
    MalformedRecord,
    UnsupportedVersion,
)

_PAGE = 500


def values(session: Session, rows: Sequence[ArtifactRow]) -> list[CatalogedArtifact]:
    """Return rows as values, in the same order, without those of a newer release.

    Raises:
        CatalogDamaged: A record does not parse, or is not what its digest says.
    """
    found = []
    for row, labels in _with_labels(session, rows):
        with contextlib.suppress(UnsupportedVersion):
            found.append(_value(row, labels))
    return found


def value(session: Session, row: ArtifactRow) -> CatalogedArtifact:
    """Return one row as a value.

    Raises:
        UnsupportedVersion: Its record is of a newer release.
        CatalogDamaged: It does not parse, or is not what its digest says.
    """
    return next(_value(row, labels) for row, labels in _with_labels(session, [row]))


def _with_labels(
    session: Session, rows: Sequence[ArtifactRow]
) -> Iterator[tuple[ArtifactRow, tuple[str, ...]]]:
    labels: dict[int, list[str]] = {}
    query = select(LabelRow.revision_id, LabelRow.label)
    for revision_id, label in session.execute(
        query.where(LabelRow.revision_id.in_({row.revision_id for row in rows}))
    ):
        labels.setdefault(revision_id, []).append(label)
    for row in rows:
        yield row, tuple(sorted(labels.get(row.revision_id, ())))


def _value(row: ArtifactRow, labels: tuple[str, ...]) -> CatalogedArtifact:
    try:
        data = row.record.encode("utf-8")
        if Digest.of(data) != row.digest:
            raise _damaged(row.digest)
        artifact = Artifact.parse(data)
    except (MalformedRecord, AttributeError, UnicodeEncodeError) as error:
        raise _damaged(row.digest) from error
    return CatalogedArtifact(
        artifact=artifact,
        digest=row.digest,
        size=row.size,
        file_count=row.file_count,
        labels=labels,
        created_at=row.created_at,
    )


def _damaged(digest: Digest) -> CatalogDamaged:
    return CatalogDamaged(
        f"the catalogue's record of artefact {digest.short} was altered",
        hint="rebuild the catalogue from the store",
    )


def read(session: Session, digest: Digest) -> CatalogedArtifact:
    """Return one artefact by its identity.

    Raises:
        ArtifactNotFound: The catalogue has none.
        UnsupportedVersion: Its record is of a newer release.
    """
    row = session.get(ArtifactRow, digest)
    if row is None:
        raise ArtifactNotFound(f"the vault holds no artefact {digest}")
    return value(session, row)


def read_unsupported(session: Session) -> list[UnsupportedArtifact]:
    """Return the artefacts whose records are of a newer release, oldest first.

    Raises:
        CatalogDamaged: A record is neither of this release nor of a newer one.
    """
    query = (
        select(ArtifactRow, ModelRow.name, RevisionRow.revision)
        .join(RevisionRow, RevisionRow.id == ArtifactRow.revision_id)
        .join(ModelRow, ModelRow.id == RevisionRow.model_id)
        .where(~ArtifactRow.record.startswith(f'{{"_type":"{ARTIFACT_TYPE}",', autoescape=True))
        .order_by(ArtifactRow.ordinal)
    )
    found: list[UnsupportedArtifact] = []
    for row, model, revision in session.execute(query):
        try:
            _value(row, ())
        except UnsupportedVersion as error:
            variant = f":{row.variant}" if row.variant else ""
            label = f"{model}@{revision}{variant}"
            found.append(UnsupportedArtifact(digest=row.digest, label=label, reason=error.message))
    return found


def read_all(database: Database) -> Iterator[CatalogedArtifact]:
    """Yield every readable artefact, oldest first, in pages, so that no transaction stays open."""
    last = 0
    while True:
        query = select(ArtifactRow).where(ArtifactRow.ordinal > last)
        with database.reading() as session:
            rows = session.scalars(query.order_by(ArtifactRow.ordinal).limit(_PAGE)).all()
            page = values(session, rows)
        yield from page
        if len(rows) < _PAGE:
            return
        last = rows[-1].ordinal


def read_parents(session: Session, digest: Digest) -> list[CatalogedArtifact]:
    """Return what an artefact was converted from, nearest first, as far as it is known."""
    result: list[CatalogedArtifact] = []
    seen = {digest}
    waiting = [digest]
    while waiting:
        child = waiting.pop(0)
        query = (
            select(ArtifactRow)
            .join(LineageRow, LineageRow.parent == ArtifactRow.digest)
            .where(LineageRow.child == child)
            .order_by(ArtifactRow.ordinal)
        )
        for parent in values(session, session.scalars(query).all()):
            if parent.digest not in seen:
                seen.add(parent.digest)
                waiting.append(parent.digest)
                result.append(parent)
    return result


def read_children(session: Session, digest: Digest) -> list[CatalogedArtifact]:
    """Return what was converted from an artefact, oldest first."""
    query = (
        select(ArtifactRow)
        .join(LineageRow, LineageRow.child == ArtifactRow.digest)
        .where(LineageRow.parent == digest)
        .order_by(ArtifactRow.ordinal)
    )
    return values(session, session.scalars(query).all())


def read_referenced(session: Session) -> set[Digest]:
    """Return the digests of every record, manifest and file."""
    result: set[Digest] = set()
    for column in (ArtifactRow.digest, ArtifactRow.manifest, FileRow.digest):
        result.update(session.scalars(select(column).distinct()))
    return result
