"""The index of a bundle: which artefacts and blobs it holds, and where; pure.

``parsing.parse_index`` accepts exactly what ``Index.encode`` writes and what obeys the
structural rules of ``docs/formats/bundle.md``; whoever gets an ``Index`` from it may rely
on all of them. Parsing says nothing about trust: ``read.UnverifiedBundle.verify`` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from modelvault.bundle.format.layouts.layout import Layout
from modelvault.core import canonical
from modelvault.core.digest import Digest

INDEX_KIND = "modelvault/bundle"
NEWEST = 2
"""The highest version of the format that this release reads and writes."""
INDEX_LIMIT = 32 * 1024 * 1024
"""Largest index that is read, in bytes."""
LARGEST_PIECE = 64 * 1024 * 1024
"""Largest piece, raw or stored, in bytes."""
LARGEST_COMPRESSED = 32 * 1024 * 1024
"""Largest compressed piece, in raw bytes: both forms of it are in memory at once."""
MOST_VALUES = 2_000_000
"""Most values of JSON in an index; one of the greatest length has about 1,600,000."""
CONTENTS_LIMIT = 128 * 1024 * 1024
"""Largest sum of all records and manifests, in raw bytes."""
HEAD = 4096
"""Bytes at a carrier's beginning that its ``head`` digest covers."""

MOST_ARTIFACTS = 10_000
MOST_BLOBS = 200_000
MOST_CARRIERS = 9_999
SERIALS_AHEAD = 24 * 3600
"""How far a serial may be above the seconds of its bundle's time."""
LATEST_YEAR = 2199
"""No bundle is made or expires after this year."""
LARGEST_SERIAL = 2**53
"""Largest number that JSON carries exactly; ``latest_serial`` bounds serials far below it."""

NONE = "none"
PLANES = "planes"
ZSTD = "zstd"
CODECS = {NONE: 1, PLANES: 1, ZSTD: 2}
"""Codecs, and the version of the format that brought each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One range of a blob, stored as one range of one carrier."""

    start: int
    """Raw offset in the blob, in bytes."""
    size: int
    """Raw length in bytes."""
    codec: str
    """``none``, ``planes`` or ``zstd``."""
    carrier: int
    """Position in ``Index.carriers``."""
    offset: int
    """Where the stored bytes begin in the carrier."""
    stored: int
    """Length in the carrier, in bytes."""
    digest: Digest
    """Of the stored bytes."""

    @property
    def end(self) -> int:
        """Raw offset at which the piece ends."""
        return self.start + self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPieces:
    """A blob, and the pieces it is put together from."""

    digest: Digest
    size: int
    """Raw length in bytes."""
    pieces: tuple[Piece, ...]

    @property
    def plain(self) -> Piece | None:
        """The only piece, if its stored bytes are the blob's bytes."""
        if len(self.pieces) == 1 and self.pieces[0].codec == NONE:
            return self.pieces[0]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """A file of the bundle that holds pieces."""

    name: str
    size: int
    """Exact length in bytes."""
    head: Digest
    """Of the first ``HEAD`` bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One artefact of the bundle, by the digests of its record and manifest."""

    record: Digest
    manifest: Digest


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Assumed:
    """A blob left out because the destination holds it."""

    digest: Digest
    size: int
    """Length in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What a bundle holds and where; see ``docs/formats/bundle.md`` for each field."""

    layout: Layout
    generator: str
    serial: int
    created: str
    expires: str | None
    artifacts: tuple[Entry, ...]
    assumed: tuple[Assumed, ...]
    blobs: tuple[BlobPieces, ...]
    carriers: tuple[Carrier, ...]

    @property
    def version(self) -> int:
        """The lowest version of the format that says it all: older releases read it, too."""
        return max((CODECS[piece.codec] for _, piece in self.pieces()), default=1)

    @property
    def size(self) -> int:
        """Raw bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)

    @property
    def stored_size(self) -> int:
        """Bytes of all carriers."""
        return sum(carrier.size for carrier in self.carriers)

    def pieces(self) -> Iterator[tuple[BlobPieces, Piece]]:
        """Yield every piece with its blob, in the order in which carriers are read."""
        for blob in self.blobs:
            for piece in blob.pieces:
                yield blob, piece

    def encode(self) -> bytes:
        """Return the canonical JSON bytes."""
        return canonical.encode(
            {
                "_type": f"{INDEX_KIND}/v{self.version}",
                "layout": self.layout.name,
                "generator": self.generator,
                "serial": self.serial,
                "created": self.created,
                "expires": self.expires,
                "artifacts": [
                    {"record": str(entry.record), "manifest": str(entry.manifest)}
                    for entry in self.artifacts
                ],
                "assumed": [
                    {"digest": str(blob.digest), "size": blob.size} for blob in self.assumed
                ],
                "blobs": [_encode_blob(blob) for blob in self.blobs],
                "carriers": [
                    {"name": carrier.name, "size": carrier.size, "head": str(carrier.head)}
                    for carrier in self.carriers
                ],
            }
        )


def _encode_blob(blob: BlobPieces) -> dict[str, canonical.Json]:
    return {
        "digest": str(blob.digest),
        "size": blob.size,
        "pieces": [
            {
                "start": piece.start,
                "size": piece.size,
                "codec": piece.codec,
                "carrier": piece.carrier,
                "offset": piece.offset,
                "stored": piece.stored,
                "digest": str(piece.digest),
            }
            for piece in blob.pieces
        ],
    }
