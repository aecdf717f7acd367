"""Reading an index from bytes: form, version, fields, limits, then the structural rules.

Nothing here is about trust; the bytes have been verified before, or must not be believed.
"""

import re
from datetime import datetime

from modelvault.bundle.format.index import (
    CODECS,
    INDEX_KIND,
    INDEX_LIMIT,
    LARGEST_COMPRESSED,
    LARGEST_PIECE,
    LARGEST_SERIAL,
    LATEST_YEAR,
    MOST_ARTIFACTS,
    MOST_BLOBS,
    MOST_CARRIERS,
    MOST_VALUES,
    NEWEST,
    NONE,
    SERIALS_AHEAD,
    Assumed,
    BlobPieces,
    Carrier,
    Entry,
    Index,
    Piece,
)
from modelvault.bundle.format.layouts.known import find_layout
from modelvault.bundle.format.layouts.layout import Layout
from modelvault.bundle.format.rules import check_structure
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import LARGEST_INTEGER, UPDATE, Fields
from modelvault.errors import BadDigest, MalformedRecord, UnsupportedVersion

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def parse_index(data: bytes) -> Index:
    """Return the index encoded in ``data``.

    Raises:
        UnsupportedVersion: Written by a newer release, or in a layout or codec unknown here.
        MalformedRecord: Not an index, not canonical, or against a structural rule.
    """
    fields = Fields(canonical.parse(data, limit=INDEX_LIMIT, values=MOST_VALUES), where="index")
    version = fields.version(INDEX_KIND, newest=NEWEST)
    layout = find_layout(fields.text("layout", longest=64))
    try:
        index = Index(
            layout=layout,
            generator=fields.text("generator", longest=128),
            serial=fields.integer("serial", least=1, most=LARGEST_SERIAL),
            created=check_time(fields.text("created"), "created"),
            expires=_parse_expiry(fields),
            artifacts=tuple(
                _parse_entry(item) for item in fields.items("artifacts", most=MOST_ARTIFACTS)
            ),
            assumed=tuple(
                _parse_assumed(item) for item in fields.items("assumed", most=MOST_BLOBS)
            ),
            blobs=tuple(_parse_blob(item) for item in fields.items("blobs", most=MOST_BLOBS)),
            carriers=tuple(
                _parse_carrier(layout, position, item)
                for position, item in enumerate(fields.items("carriers", most=MOST_CARRIERS))
            ),
        )
    except BadDigest as error:
        raise MalformedRecord(f"index: {error}") from error
    fields.finish()
    if index.serial > (latest := latest_serial(index.created)):
        raise MalformedRecord(f"index: serial {index.serial} is beyond its time's, {latest}")
    if index.version != version:
        raise MalformedRecord(f"index: says version {version}, and is of version {index.version}")
    check_structure(index)
    return index


def check_time(text: str, name: str) -> str:
    """Return ``text`` if it is RFC 3339 in UTC with whole seconds, such as ``…T12:00:00Z``.

    Raises:
        MalformedRecord: It is not; the message uses ``name``.
    """
    if not _TIME.fullmatch(text):
        raise MalformedRecord(f"index: '{name}' is {text[:64]!r}, not like 2026-05-01T12:00:00Z")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedRecord(f"index: '{name}' is {text!r}: {error}") from error
    if time.year > LATEST_YEAR:
        raise MalformedRecord(f"index: '{name}' is {text!r}, after the year {LATEST_YEAR}")
    return text


def latest_serial(created: str) -> int:
    """Return the highest serial that a bundle of this time can have.

    It is the time in seconds since 1970 and a day's more: a key's serials can begin at the
    time where the ones before are not known, and no bundle can use up those of later ones.
    """
    return int(datetime.fromisoformat(created).timestamp()) + SERIALS_AHEAD


def _parse_expiry(fields: Fields) -> str | None:
    text = fields.optional_text("expires")
    if text is None:
        return None
    # Both texts have one fixed form, so their order is the order of the times.
    if check_time(text, "expires") <= fields.text("created"):
        raise MalformedRecord("index: 'expires' is not later than 'created'")
    return text


def _parse_entry(item: canonical.Json) -> Entry:
    fields = Fields(item, where="index.artifacts")
    entry = Entry(
        record=Digest.parse(fields.text("record")), manifest=Digest.parse(fields.text("manifest"))
    )
    fields.finish()
    return entry


def _parse_assumed(item: canonical.Json) -> Assumed:
    fields = Fields(item, where="index.assumed")
    blob = Assumed(digest=Digest.parse(fields.text("digest")), size=fields.integer("size"))
    fields.finish()
    return blob


def _parse_carrier(layout: Layout, position: int, item: canonical.Json) -> Carrier:
    fields = Fields(item, where=f"index.carriers[{position}]")
    name = fields.text("name", longest=255)
    if name != (right := layout.carrier_name(position)):
        raise MalformedRecord(f"index: carrier {position} is called {name!r} instead of '{right}'")
    carrier = Carrier(
        name=name,
        size=fields.integer("size", least=1),
        head=Digest.parse(fields.text("head")),
    )
    fields.finish()
    return carrier


def _parse_blob(item: canonical.Json) -> BlobPieces:
    fields = Fields(item, where="index.blobs")
    blob = BlobPieces(
        digest=Digest.parse(fields.text("digest")),
        size=fields.integer("size"),
        pieces=tuple(_parse_piece(piece) for piece in fields.items("pieces", most=LARGEST_INTEGER)),
    )
    fields.finish()
    return blob


def _parse_piece(item: canonical.Json) -> Piece:
    fields = Fields(item, where="index.blobs.pieces")
    piece = Piece(
        start=fields.integer("start"),
        size=fields.integer("size", least=1, most=LARGEST_PIECE),
        codec=fields.text("codec", longest=16),
        carrier=fields.integer("carrier", most=MOST_CARRIERS - 1),
        offset=fields.integer("offset"),
        stored=fields.integer("stored", least=1, most=LARGEST_PIECE),
        digest=Digest.parse(fields.text("digest")),
    )
    fields.finish()
    if piece.codec not in CODECS:
        raise UnsupportedVersion(f"index: codec unknown here: {piece.codec!r}", hint=UPDATE)
    if piece.codec == NONE and piece.stored != piece.size:
        raise MalformedRecord("index: a piece without codec has two sizes")
    if piece.codec != NONE and piece.size > LARGEST_COMPRESSED:
        raise MalformedRecord(f"index: a compressed piece exceeds {LARGEST_COMPRESSED} bytes")
    if piece.codec != NONE and piece.stored >= piece.size:
        raise MalformedRecord("index: a compressed piece is not smaller than its raw bytes")
    return piece
