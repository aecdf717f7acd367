"""Restore the catalogue's artefacts from what the store holds.

The log, the installs and the bundles stay as they are: the store knows nothing of them.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from modelvault.catalog.artifacts import insert_artifact, label_of, move_label, prune
from modelvault.catalog.rows import ArtifactRow, RevisionRow
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restored:
    """What a rebuild needs to know once all rows are in."""

    time: dt.datetime
    digest: Digest
    model_id: int
    revision_id: int
    label: str | None


def rebuild(
    session: Session,
    records: Iterable[tuple[Artifact, Manifest, dt.datetime]],
    keep: frozenset[Digest],
) -> int:
    """Make the catalogue hold exactly these artefacts; return their number.

    Args:
        session: A write transaction.
        records: Artefacts in any order, with the time each was first kept; read once.
        keep: Artefacts that only a newer release can restore: their rows stay, if there
            are any.
    """
    kept = _clear(session, keep)
    restored: list[_Restored] = []
    for artifact, manifest, time in records:
        if session.get(ArtifactRow, artifact.digest) is not None:
            continue
        revision = insert_artifact(session, artifact, manifest, time)
        restored.append(
            _Restored(
                time=time,
                digest=artifact.digest,
                model_id=revision.model_id,
                revision_id=revision.id,
                label=label_of(artifact),
            )
        )
        session.flush()
        session.expunge_all()  # what is flushed need not stay in memory
    _renumber(session, sorted([*restored, *kept], key=lambda item: (item.time, item.digest)))
    return len(restored)


def _clear(session: Session, keep: frozenset[Digest]) -> list[_Restored]:
    """Delete all artefacts but those to keep; return what is known of these."""
    session.execute(delete(ArtifactRow).where(ArtifactRow.digest.not_in(keep)))
    prune(session)
    session.expire_all()
    query = select(ArtifactRow, RevisionRow.model_id).join(
        RevisionRow, RevisionRow.id == ArtifactRow.revision_id
    )
    return [
        _Restored(
            time=row.created_at,
            digest=row.digest,
            model_id=model_id,
            revision_id=row.revision_id,
            label=None,
        )
        for row, model_id in session.execute(query)
    ]


def _renumber(session: Session, restored: Sequence[_Restored]) -> None:
    """Give rows ordinals in order of time, and labels to the newest revision."""
    revisions: dict[int, int] = {}
    labels: dict[tuple[int, str], _Restored] = {}
    for ordinal, item in enumerate(restored, start=1):
        session.execute(
            update(ArtifactRow).where(ArtifactRow.digest == item.digest).values(ordinal=ordinal)
        )
        revisions.setdefault(item.revision_id, ordinal)
        if item.label is not None:
            labels[item.model_id, item.label] = item
    for revision_id, ordinal in revisions.items():
        session.execute(
            update(RevisionRow).where(RevisionRow.id == revision_id).values(ordinal=ordinal)
        )
    for (_, label), item in labels.items():
        revision = session.get_one(RevisionRow, item.revision_id)
        move_label(session, revision, label, item.time)
    session.flush()
