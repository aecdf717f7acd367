"""Artefacts go into the catalogue and out of it.

Everything works in the session of its caller, who has opened the transaction.

``ordinal`` numbers rows in the order in which they were added. It decides what "newest"
means, because the clock of a host without a network may be set back at any time.
"""

import datetime as dt
from collections.abc import Collection

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from modelvault.catalog.events import printable
from modelvault.catalog.rows import (
    ArtifactRow,
    FileRow,
    InstallRow,
    LabelRow,
    LineageRow,
    ModelRow,
    RevisionRow,
)
from modelvault.core.artifact import Artifact, ConversionOrigin, Followable
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.names import is_commit, is_revision
from modelvault.errors import ArtifactNotFound, MalformedRecord, TargetConflict

_BATCH = 5_000
"""Files inserted at once, so that a manifest of 200,000 does not double in memory."""


def add(
    session: Session,
    artifact: Artifact,
    manifest: Manifest,
    now: dt.datetime,
    requested: str | None = None,
) -> bool:
    """Add an artefact, or only move its label if it is known; return whether it is new.

    Args:
        session: A write transaction.
        artifact: What to add.
        manifest: Its manifest.
        now: The time.
        requested: What it was asked for by this time; None for what its record says.

    Raises:
        MalformedRecord: The manifest is not the artefact's.
    """
    digest = artifact.digest
    known = session.get(ArtifactRow, digest)
    if known is None:
        revision = insert_artifact(session, artifact, manifest, now)
    else:
        revision = session.get_one(RevisionRow, known.revision_id)
    label = label_of(artifact, requested)
    if label is not None:
        move_label(session, revision, label, now)
    session.flush()
    return known is None


def label_of(artifact: Artifact, requested: str | None = None) -> str | None:
    """Return the branch or tag under which an artefact was requested, if it was one.

    What looks like a commit is no label: it must never stand for another commit.
    """
    if not isinstance(artifact.origin, Followable):
        return None
    label = requested or artifact.origin.requested
    if not is_revision(label) or is_commit(label) or label == artifact.revision:
        return None
    return label


def insert_artifact(
    session: Session, artifact: Artifact, manifest: Manifest, now: dt.datetime
) -> RevisionRow:
    """Insert an artefact that is not there yet, without its label; return its revision.

    Raises:
        MalformedRecord: The manifest is not the artefact's.
    """
    if artifact.manifest != manifest.digest:
        raise MalformedRecord(
            f"{artifact.reference}: manifest {manifest.digest.short} was given "
            f"instead of {artifact.manifest.short}"
        )
    digest = artifact.digest
    revision = _revision(session, artifact)
    license_ = artifact.license
    row = ArtifactRow(
        digest=digest,
        revision_id=revision.id,
        variant=artifact.variant,
        format=artifact.format,
        quantization=_column(artifact.quantization, 64),
        manifest=artifact.manifest,
        size=manifest.size,
        file_count=len(manifest.files),
        license=None if license_ is None else _column(license_.id, 255),
        record=artifact.encode().decode("utf-8"),
        ordinal=_next_ordinal(session, ArtifactRow),
        created_at=now,
    )
    session.add(row)
    session.flush()
    _insert_files(session, digest, manifest)
    if isinstance(artifact.origin, ConversionOrigin):
        session.add(
            LineageRow(
                child=digest,
                parent=artifact.origin.parent,
                converter=printable(artifact.origin.converter, 255),
            )
        )
    return revision


def _column(text: str | None, longest: int) -> str | None:
    """Return a publisher's text for a column; the record keeps it as it is."""
    return None if text is None else printable(text, longest)


def _insert_files(session: Session, digest: Digest, manifest: Manifest) -> None:
    for start in range(0, len(manifest.files), _BATCH):
        batch = [
            {"artifact": digest, "path": file.path, "digest": file.digest, "size": file.size}
            for file in manifest.files[start : start + _BATCH]
        ]
        session.execute(insert(FileRow), batch)


def _next_ordinal(session: Session, kind: type[ArtifactRow] | type[RevisionRow]) -> int:
    return (session.scalar(select(func.max(kind.ordinal))) or 0) + 1


def _revision(session: Session, artifact: Artifact) -> RevisionRow:
    model = session.scalar(select(ModelRow).where(ModelRow.name == str(artifact.model)))
    if model is None:
        model = ModelRow(name=str(artifact.model))
        session.add(model)
        session.flush()
    revision = session.scalar(
        select(RevisionRow).where(
            RevisionRow.model_id == model.id, RevisionRow.revision == artifact.revision
        )
    )
    if revision is None:
        revision = RevisionRow(
            model_id=model.id,
            revision=artifact.revision,
            ordinal=_next_ordinal(session, RevisionRow),
        )
        session.add(revision)
        session.flush()
    return revision


def move_label(session: Session, revision: RevisionRow, label: str, now: dt.datetime) -> None:
    """Let a label stand for a revision from now on."""
    row = session.get(LabelRow, (revision.model_id, label))
    if row is None:
        row = LabelRow(model_id=revision.model_id, label=label)
        session.add(row)
    row.revision_id = revision.id
    row.seen_at = now


def refuse_installed(session: Session, digests: Collection[Digest]) -> None:
    """Refuse to forget what is in use.

    Raises:
        TargetConflict: Some artefacts are installed; ``issues`` names each install.
    """
    installs = session.scalars(
        select(InstallRow).where(InstallRow.removed_at.is_(None)).order_by(InstallRow.id)
    ).all()
    found = [install for install in installs if install.artifact in set(digests)]
    if not found:
        return
    where = [
        f"artefact {install.artifact.short} is installed in {install.target} as {install.name}"
        for install in found
    ]
    raise TargetConflict(
        where[0] if len(where) == 1 else f"{len(where)} installs need what is to be removed",
        hint="uninstall it there first",
        issues=where if len(where) > 1 else (),
    )


def remove(session: Session, digests: Collection[Digest]) -> None:
    """Forget artefacts, with their revisions and models where nothing else needs them.

    Raises:
        ArtifactNotFound: The catalogue does not have one.
    """
    for digest in digests:
        row = session.get(ArtifactRow, digest)
        if row is None:
            raise ArtifactNotFound(f"the vault holds no artefact {digest}")
        session.delete(row)
    session.flush()
    prune(session)


def prune(session: Session) -> None:
    """Forget revisions without artefacts, and models without revisions."""
    used = select(ArtifactRow.revision_id)
    session.execute(delete(RevisionRow).where(RevisionRow.id.not_in(used)))
    session.execute(delete(ModelRow).where(ModelRow.id.not_in(select(RevisionRow.model_id))))
