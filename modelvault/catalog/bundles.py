"""Which bundles left and entered this site."""

import datetime as dt

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from modelvault.catalog.events import printable
from modelvault.catalog.rows import BundleArtifactRow, BundleRow
from modelvault.catalog.values import Bundle, Direction, RecordedBundle
from modelvault.core.digest import Digest
from modelvault.errors import CatalogDamaged


def add(session: Session, bundle: Bundle, now: dt.datetime) -> int:
    """Record a bundle; return the number of its row."""
    row = BundleRow(
        index_digest=bundle.index,
        direction=bundle.direction.value,
        serial=bundle.serial,
        publisher=printable(bundle.publisher, 255),
        layout=printable(bundle.layout, 64),
        location=printable(bundle.location, 4096),
        created_at=now,
    )
    session.add(row)
    session.flush()
    members = [{"bundle_id": row.id, "artifact": digest} for digest in set(bundle.artifacts)]
    if members:
        session.execute(insert(BundleArtifactRow), members)
    return row.id


def read_all(session: Session) -> list[RecordedBundle]:
    """Return every bundle, oldest first."""
    members: dict[int, list[Digest]] = {}
    query = select(BundleArtifactRow.bundle_id, BundleArtifactRow.artifact)
    for bundle_id, digest in session.execute(query.order_by(BundleArtifactRow.artifact)):
        members.setdefault(bundle_id, []).append(digest)
    rows = session.scalars(select(BundleRow).order_by(BundleRow.id))
    return [_value(row, tuple(members.get(row.id, ()))) for row in rows]


def read_last_serial(session: Session, publisher: str, direction: Direction | None) -> int:
    """Return the highest serial of a publisher's bundles; 0 where there is none."""
    query = select(func.max(BundleRow.serial)).where(
        BundleRow.publisher == printable(publisher, 255)
    )
    if direction is not None:
        query = query.where(BundleRow.direction == direction.value)
    return session.scalar(query) or 0


def _value(row: BundleRow, artifacts: tuple[Digest, ...]) -> RecordedBundle:
    try:
        direction = Direction(row.direction)
    except ValueError as error:
        raise CatalogDamaged(f"bundle {row.id} went in no known direction") from error
    return RecordedBundle(
        id=row.id,
        bundle=Bundle(
            index=row.index_digest,
            direction=direction,
            serial=row.serial,
            publisher=row.publisher,
            layout=row.layout,
            location=row.location,
            artifacts=artifacts,
        ),
        created_at=row.created_at,
    )
