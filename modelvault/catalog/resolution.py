"""From a reference to the artefact it means.

No variant means the source as pulled. No revision means the most recently added revision
that has the variant. A revision is, in this order, a full commit, a label (where it
currently points in this vault), or a prefix of a commit that fits only one. Among
artefacts of the same revision and variant the most recently added one is meant.

The start of a digest means the one artefact whose own digest, else whose manifest's digest, it
begins; one that begins several is refused.
"""

import difflib
import re
from collections.abc import Sequence

from sqlalchemy import ColumnElement, String, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelvault.catalog.records import value, values
from modelvault.catalog.rows import ArtifactRow, LabelRow, ModelRow, RevisionRow
from modelvault.catalog.values import CatalogedArtifact
from modelvault.core.digest import Digest
from modelvault.core.names import AnyReference, DigestStart, ModelName, Reference
from modelvault.errors import ArtifactNotFound, BadReference

_COMMIT_PREFIX = re.compile(r"[0-9a-f]{4,39}")
_SHOWN = 8
_MOST_LISTED = 100


def find(session: Session, reference: AnyReference) -> CatalogedArtifact:
    """Return the artefact that a reference means.

    Raises:
        ArtifactNotFound: There is none; the hint says what is near.
        BadReference: The start of a commit fits several revisions, or that of a digest several
            artefacts; ``issues`` lists them.
        UnsupportedVersion: Its record is of a newer release.
    """
    if isinstance(reference, DigestStart):
        return value(session, _find_by_start(session, reference))
    return value(session, _find_rows(session, reference, most=1)[0])


def find_all(session: Session, reference: AnyReference) -> list[CatalogedArtifact]:
    """Return every artefact that a reference fits, newest first.

    Raises:
        ArtifactNotFound: There is none; the hint says what is near.
        BadReference: As for ``find``.
        UnsupportedVersion: The records of all are of a newer release.
    """
    if isinstance(reference, DigestStart):
        return [find(session, reference)]
    rows = _find_rows(session, reference)
    return values(session, rows) or [value(session, rows[0])]


def _find_rows(
    session: Session, reference: Reference, *, most: int | None = None
) -> Sequence[ArtifactRow]:
    """Return the rows that a name fits, newest first; at least one.

    Raises:
        ArtifactNotFound: There is none.
        BadReference: The start of a commit fits several revisions.
    """
    model_id = session.scalar(select(ModelRow.id).where(ModelRow.name == str(reference.model)))
    if model_id is None:
        raise ArtifactNotFound(
            f"the vault holds no model {reference.model}",
            hint=_suggest_models(session, reference.model),
        )
    query = (
        select(ArtifactRow)
        .join(RevisionRow, RevisionRow.id == ArtifactRow.revision_id)
        .where(RevisionRow.model_id == model_id, ArtifactRow.variant == reference.variant)
        .order_by(RevisionRow.ordinal.desc(), ArtifactRow.ordinal.desc())
        .limit(most)
    )
    revision_id = None
    if reference.revision is not None:
        revision_id = _find_revision(session, model_id, reference)
        query = query.where(RevisionRow.id == revision_id)
    rows = session.scalars(query).all()
    if not rows:
        raise ArtifactNotFound(
            f"the vault holds no artefact {reference}",
            hint=_suggest_variants(session, model_id, revision_id, reference),
        )
    return rows


def _find_by_start(session: Session, wanted: DigestStart) -> ArtifactRow:
    for column in (ArtifactRow.digest, ArtifactRow.manifest):
        query = select(ArtifactRow).where(_begins(column, wanted.hex))
        rows = session.scalars(query.order_by(ArtifactRow.ordinal)).all()
        if len(rows) == 1:
            return rows[0]
        if rows:
            raise BadReference(
                f"'{wanted.hex}' begins the digests of {len(rows)} artefacts",
                hint="write more digits of the one that is meant",
                issues=[
                    f"{row.digest}  {_full_reference(session, row)}" for row in rows[:_MOST_LISTED]
                ],
            )
    raise ArtifactNotFound(
        f"the vault holds no artefact whose digest begins with {wanted.hex}",
        hint="'modelvault list' shows how each begins",
    )


def _begins(column: InstrumentedAttribute[Digest], start: str) -> ColumnElement[bool]:
    """Return the condition that a digest begins so: a range, for which its index serves."""
    text = type_coerce(column, String)
    return (text >= start) & (text < f"{start}g")  # no hexadecimal digit comes after f


def _full_reference(session: Session, row: ArtifactRow) -> Reference:
    name, revision = session.execute(
        select(ModelRow.name, RevisionRow.revision)
        .join(RevisionRow, RevisionRow.model_id == ModelRow.id)
        .where(RevisionRow.id == row.revision_id)
    ).one()
    return Reference(model=ModelName.parse(name), revision=revision, variant=row.variant)


def _find_revision(session: Session, model_id: int, reference: Reference) -> int:
    wanted = reference.revision or ""
    revisions = select(RevisionRow.id).where(RevisionRow.model_id == model_id)
    found = session.scalar(revisions.where(RevisionRow.revision == wanted))
    if found is None:
        found = session.scalar(
            select(LabelRow.revision_id).where(
                LabelRow.model_id == model_id, LabelRow.label == wanted
            )
        )
    if found is None and _COMMIT_PREFIX.fullmatch(wanted):
        found = _find_by_prefix(session, model_id, reference)
    if found is None:
        raise ArtifactNotFound(
            f"the vault holds no revision '{wanted}' of {reference.model}",
            hint=_suggest_revisions(session, model_id),
        )
    return found


def _find_by_prefix(session: Session, model_id: int, reference: Reference) -> int | None:
    query = select(RevisionRow.id, RevisionRow.revision).where(
        RevisionRow.model_id == model_id,
        RevisionRow.revision.startswith(reference.revision or "", autoescape=True),
    )
    rows = session.execute(query.order_by(RevisionRow.ordinal.desc())).all()
    if len(rows) > 1:
        raise BadReference(
            f"'{reference.revision}' begins {len(rows)} commits of {reference.model}",
            hint="write more digits: " + _join([revision for _, revision in rows]),
        )
    return rows[0][0] if rows else None


def _suggest_models(session: Session, model: ModelName) -> str:
    names = session.scalars(select(ModelRow.name).order_by(ModelRow.name)).all()
    if not names:
        return "the vault is empty: pull or import a model first"
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(str(model).casefold(), folded, n=3)
    same = [name for name in names if name.casefold().endswith(f"/{model.name.casefold()}")]
    chosen = list(dict.fromkeys([*(folded[key] for key in near), *same]))
    if not chosen:
        return "'modelvault list' shows what there is"
    return f"did you mean {_join(chosen)}?"


def _suggest_revisions(session: Session, model_id: int) -> str:
    labels = session.scalars(
        select(LabelRow.label).where(LabelRow.model_id == model_id).order_by(LabelRow.label)
    ).all()
    commits = session.scalars(
        select(RevisionRow.revision)
        .where(RevisionRow.model_id == model_id)
        .order_by(RevisionRow.ordinal.desc())
    ).all()
    return f"there are {_join([*labels, *(commit[:12] for commit in commits)])}"


def _suggest_variants(
    session: Session, model_id: int, revision_id: int | None, reference: Reference
) -> str:
    query = (
        select(ArtifactRow.variant)
        .join(RevisionRow, RevisionRow.id == ArtifactRow.revision_id)
        .where(RevisionRow.model_id == model_id)
        .distinct()
    )
    here = query if revision_id is None else query.where(RevisionRow.id == revision_id)
    variants = set(session.scalars(here))
    if reference.variant is not None and reference.variant in set(session.scalars(query)):
        return f"variant {reference.variant} is there of another revision: leave the revision out"
    written = [
        str(Reference(model=reference.model, revision=reference.revision, variant=variant))
        for variant in sorted(variants, key=lambda variant: variant or "")
    ]
    return f"there is {_join(written)}" if written else ""


def _join(words: Sequence[str]) -> str:
    more = ["…"] if len(words) > _SHOWN else []
    return ", ".join([*words[:_SHOWN], *more])
