"""The append-only, hash-chained log of what happened.

Each entry's hash is the SHA-256 of canonical JSON that holds the entry and the hash of
the one before: an attacker who changes, drops or inserts an entry has to recompute every
later hash, and no longer matches a head that was kept elsewhere. Triggers in the database
refuse updates and deletions; the chain shows what was done without them.

Format (``modelvault/event/v1``): see ``docs/formats/catalog.md``.
"""

import datetime as dt
import unicodedata
from collections.abc import Iterator

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelvault.catalog.database import Database
from modelvault.catalog.rows import EventRow, encode_time, parse_time
from modelvault.catalog.values import Actor, ChainHead, Event, RecordedEvent
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.errors import BadDigest, CatalogDamaged, MalformedRecord

EVENT_TYPE = "modelvault/event/v1"
GENESIS = ChainHead(sequence=0, hash=Digest("0" * 64))
"""What the first event follows."""

_LONGEST_VERB = 64
_LONGEST_SUBJECT = 512  # an index key: PostgreSQL takes up to 2704 bytes
_LONGEST_VALUE = 4096
_MOST_DETAILS = 256
_LONGEST_DETAILS = 16 * 1024 * 1024
_PAGE = 500
_BEFORE_ALL = -(2**63)  # below any sequence a forger may have chosen


def printable(text: str, longest: int) -> str:
    """Return ``text`` as one that any database and terminal can show.

    Control characters and lone surrogates become escapes, what is too long ends in ``…``.

    Args:
        text: Possibly a publisher's, or an attacker's.
        longest: Characters to keep at most.
    """
    shown = "".join(
        character
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text[:longest]
    )
    return shown if len(shown) <= longest and len(text) <= longest else shown[: longest - 1] + "…"


def append(session: Session, event: Event, actor: Actor, time: dt.datetime) -> ChainHead:
    """Add an event to the log, in the caller's write transaction; return the new head."""
    last = read_head(session)
    row = EventRow(
        sequence=last.sequence + 1,
        time=encode_time(time),
        actor=printable(actor.name, _LONGEST_VALUE),
        host=printable(actor.host, _LONGEST_VALUE),
        verb=printable(event.verb, _LONGEST_VERB),
        subject=printable(event.subject, _LONGEST_SUBJECT),
        details=_encode_details(event),
    )
    row.hash = _hash(row, last.hash).hex
    session.add(row)
    session.flush()
    return ChainHead(sequence=row.sequence, hash=Digest(row.hash))


def _encode_details(event: Event) -> str:
    details = {
        printable(name, _LONGEST_VALUE): printable(value, _LONGEST_VALUE)
        for name, value in list(event.details.items())[:_MOST_DETAILS]
    }
    return canonical.encode(details).decode("utf-8")


def read_head(session: Session) -> ChainHead:
    """Return the end of the log."""
    row = session.scalars(select(EventRow).order_by(EventRow.sequence.desc()).limit(1)).first()
    return GENESIS if row is None else ChainHead(sequence=row.sequence, hash=_stored_hash(row))


def read_last_time(session: Session) -> dt.datetime | None:
    """Return when the last event was logged; None for an empty log."""
    time = session.scalar(select(EventRow.time).order_by(EventRow.sequence.desc()).limit(1))
    return None if time is None else parse_time(time)


def read_history(
    database: Database, subject: str | None, verb: str | None = None
) -> Iterator[RecordedEvent]:
    """Yield events, oldest first, in pages, so that no transaction stays open.

    Args:
        database: The catalogue's database.
        subject: Only events about this subject or, for ``ORG/NAME``, its revisions and
            variants; None for all.
        verb: Only events of this verb; None for all.
    """
    query = select(EventRow).order_by(EventRow.sequence).limit(_PAGE)
    if subject is not None:
        query = query.where(
            or_(
                EventRow.subject == subject,
                EventRow.subject.startswith(f"{subject}@", autoescape=True),
                EventRow.subject.startswith(f"{subject}:", autoescape=True),
            )
        )
    if verb is not None:
        query = query.where(EventRow.verb == verb)
    last = _BEFORE_ALL
    while True:
        with database.reading() as session:
            page = [_value(row) for row in session.scalars(query.where(EventRow.sequence > last))]
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].sequence


def verify(database: Database, anchor: ChainHead | None) -> int:
    """Recompute the chain; return the number of events.

    Args:
        database: The catalogue's database.
        anchor: A head kept elsewhere that the log must still contain.

    Raises:
        CatalogDamaged: An event was altered, removed or inserted; the message names the
            first one that does not fit.
    """
    head = GENESIS
    met = anchor is None or anchor == GENESIS
    after = _BEFORE_ALL
    while page := _read_page(database, after):
        after = page[-1].sequence
        for row in page:
            head = _follow(row, head)
            met = met or head == anchor
    if not met and anchor is not None:
        raise CatalogDamaged(
            f"the event log does not contain event {anchor.sequence} as it was recorded "
            f"elsewhere ({anchor.hash.short}): it was cut short or rewritten",
            hint="compare it with a backup of the catalogue",
        )
    return head.sequence


def _read_page(database: Database, after: int) -> list[EventRow]:
    with database.reading() as session:
        query = select(EventRow).where(EventRow.sequence > after).order_by(EventRow.sequence)
        return list(session.scalars(query.limit(_PAGE)))


def _follow(row: EventRow, last: ChainHead) -> ChainHead:
    """Return the head after ``row``, if it is the event that follows ``last``."""
    wanted = last.sequence + 1
    if row.sequence != wanted:
        raise _broken(wanted, "it is missing")
    try:
        stored = _stored_hash(row)
        computed = _hash(row, last.hash)
    except CatalogDamaged as error:
        raise _broken(wanted, error.message) from error
    if stored != computed:
        raise _broken(wanted, "its hash does not follow from its content and the one before")
    return ChainHead(sequence=wanted, hash=stored)


def _broken(sequence: int, reason: str) -> CatalogDamaged:
    return CatalogDamaged(
        f"event {sequence} of the log was tampered with or damaged: {reason}",
        hint="compare the log with a backup of the catalogue; events before it are intact",
    )


def _stored_hash(row: EventRow) -> Digest:
    try:
        return Digest(row.hash)
    except (BadDigest, TypeError) as error:
        raise CatalogDamaged(f"event {row.sequence} holds no hash") from error


def _details(row: EventRow) -> dict[str, str]:
    try:
        value = canonical.parse(row.details.encode("utf-8"), limit=_LONGEST_DETAILS)
        return Fields({"details": value}, where="event").texts("details", most=_MOST_DETAILS)
    except (MalformedRecord, AttributeError, UnicodeEncodeError) as error:
        raise CatalogDamaged(f"event {row.sequence} holds details that do not parse") from error


def _hash(row: EventRow, previous: Digest) -> Digest:
    try:
        return Digest.of(
            canonical.encode(
                {
                    "_type": EVENT_TYPE,
                    "previous": previous.hex,
                    "sequence": row.sequence,
                    "time": row.time,
                    "actor": row.actor,
                    "host": row.host,
                    "verb": row.verb,
                    "subject": row.subject,
                    "details": _details(row),
                }
            )
        )
    except (TypeError, UnicodeEncodeError) as error:
        raise CatalogDamaged(f"event {row.sequence} holds values that cannot be read") from error


def _value(row: EventRow) -> RecordedEvent:
    return RecordedEvent(
        sequence=row.sequence,
        time=parse_time(row.time),
        actor=row.actor,
        host=row.host,
        verb=row.verb,
        subject=row.subject,
        details=_details(row),
        hash=_stored_hash(row),
    )
