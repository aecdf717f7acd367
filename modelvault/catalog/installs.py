"""What was installed where, with the receipt that undoes it.

Receipts are kept as they were given and never read here: what one of them holds, a newer
release's words or damage, is the business of who asks for it, and touches no other install.
"""

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelvault.catalog.rows import ArtifactRow, InstallRow
from modelvault.catalog.values import Install, RecordedInstall
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.errors import (
    ArtifactNotFound,
    InstallNotFound,
    MalformedRecord,
    TargetConflict,
)

RECEIPT_LIMIT = 64 * 1024 * 1024
"""Largest receipt that is kept, in bytes."""
_MOST_VALUES = 4_000_000


def add(
    session: Session, install: Install, now: dt.datetime, *, replaces: int | None
) -> RecordedInstall:
    """Record an install, closing the one it replaces; return it with its number.

    Args:
        session: A transaction.
        install: What was installed where.
        now: The time, with its zone.
        replaces: Number of the active install that it takes the place of; None for none.

    Raises:
        ArtifactNotFound: The catalogue does not hold the artefact.
        InstallNotFound: There is no active install to replace.
        TargetConflict: Another active install has the same target, location and name.
        MalformedRecord: The receipt, name or location cannot be kept.
    """
    if session.get(ArtifactRow, install.artifact) is None:
        raise ArtifactNotFound(f"the vault holds no artefact {install.artifact}")
    if replaces is not None:
        close(session, replaces, now)
    receipt = _encode_receipt(install)
    taken = session.scalar(
        select(InstallRow.id).where(
            InstallRow.target == install.target,
            InstallRow.location == install.location,
            InstallRow.name == install.name,
            InstallRow.removed_at.is_(None),
        )
    )
    if taken is not None:
        raise TargetConflict(
            f"{install.name} is already installed in {install.target} at {install.location}",
            hint="uninstall it first, or choose another name with --as",
        )
    row = InstallRow(
        artifact=install.artifact,
        target=install.target,
        name=install.name,
        location=install.location,
        receipt=receipt,
        installed_at=now,
    )
    session.add(row)
    session.flush()
    return _value(row)


def close(session: Session, number: int, now: dt.datetime) -> RecordedInstall:
    """Record that an install was removed; return it as it is now.

    Args:
        session: A transaction.
        number: The install's number.
        now: The time, with its zone.

    Raises:
        InstallNotFound: There is no such install, or it was removed before.
    """
    row = session.get(InstallRow, number)
    if row is None or row.removed_at is not None:
        raise InstallNotFound(
            f"install {number} is not active", hint="'modelvault status' shows what is"
        )
    row.removed_at = now
    session.flush()
    return _value(row)


def read_all(session: Session, artifact: Digest | None, *, active: bool) -> list[RecordedInstall]:
    """Return installs, oldest first.

    Args:
        session: A transaction.
        artifact: Only installs of this artefact; None for all.
        active: Leave out those that were removed.
    """
    query = select(InstallRow).order_by(InstallRow.id)
    if artifact is not None:
        query = query.where(InstallRow.artifact == artifact)
    if active:
        query = query.where(InstallRow.removed_at.is_(None))
    return [_value(row) for row in session.scalars(query)]


def _encode_receipt(install: Install) -> str:
    """Return the receipt as the text that is stored, after checking what can be kept.

    Raises:
        MalformedRecord: Too long, not canonical JSON, or a text that no database holds.
    """
    words = (install.target, install.name, install.location)
    if any("\0" in text for text in words):
        raise MalformedRecord(f"the install {words!r} holds a null character")
    try:
        canonical.parse(install.receipt, limit=RECEIPT_LIMIT, values=_MOST_VALUES)
        for text in words:
            text.encode("utf-8")
        return install.receipt.decode("utf-8")
    except (ValueError, MalformedRecord) as error:
        raise MalformedRecord(
            f"the install of {install.name!r} cannot be recorded: {error}"
        ) from error


def _value(row: InstallRow) -> RecordedInstall:
    return RecordedInstall(
        id=row.id,
        install=Install(
            artifact=row.artifact,
            target=row.target,
            name=row.name,
            location=row.location,
            # SQLite returns whatever type was stored: anything but text is not a receipt.
            receipt=str(row.receipt).encode("utf-8", "surrogatepass"),
        ),
        installed_at=row.installed_at,
        removed_at=row.removed_at,
    )
