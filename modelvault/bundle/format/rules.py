"""The structural rules of an index: pieces make blobs, and fill carriers, exactly.

The numbers of rules are those of ``docs/formats/bundle.md``.
"""

from itertools import pairwise

from modelvault.bundle.format.index import CONTENTS_LIMIT, BlobPieces, Index
from modelvault.core.artifact import ARTIFACT_LIMIT
from modelvault.core.digest import Digest
from modelvault.core.manifest import MANIFEST_LIMIT
from modelvault.errors import MalformedRecord

_EMPTY = Digest.of(b"")


def check_structure(index: Index) -> None:
    """Check what no single field shows.

    Raises:
        MalformedRecord: A rule is broken; the message names the blob or carrier.
    """
    _check_names(index)
    for blob in index.blobs:
        _check_cover(blob)
    _check_carriers(index)
    _check_entries(index)


def _check_names(index: Index) -> None:
    digests = [blob.digest for blob in index.blobs]
    if len(set(digests)) != len(digests):
        raise MalformedRecord("index: a blob is listed twice")
    records = [entry.record for entry in index.artifacts]
    if not records or len(set(records)) != len(records):
        raise MalformedRecord("index: no artefact, or one listed twice")
    assumed = [blob.digest for blob in index.assumed]
    if any(first >= second for first, second in pairwise(assumed)):
        raise MalformedRecord("index: assumed blobs are not sorted, or one is listed twice")
    both = set(assumed) & set(digests)
    if both:
        raise MalformedRecord(f"index: blob {min(both)} is both held and assumed")


def _check_cover(blob: BlobPieces) -> None:
    """Rules 1 and 3: the pieces are the blob, whole and once."""
    if blob.size == 0 and blob.digest != _EMPTY:
        raise MalformedRecord(f"index: blob {blob.digest} cannot be empty")
    position = 0
    for piece in blob.pieces:
        if piece.start != position:
            raise MalformedRecord(
                f"index: blob {blob.digest} has a piece at {piece.start} instead of {position}"
            )
        position = piece.end
    if position != blob.size:
        raise MalformedRecord(
            f"index: the pieces of blob {blob.digest} make {position} bytes instead of {blob.size}"
        )
    if blob.plain is not None and blob.plain.digest != blob.digest:
        raise MalformedRecord(f"index: blob {blob.digest} and its only piece differ in digest")


def _check_carriers(index: Index) -> None:
    """Rule 2: no overlap, no gap, nothing beyond an end, nothing unlisted."""
    carrier, offset = 0, 0
    for blob, piece in index.pieces():
        if carrier < len(index.carriers) and offset == index.carriers[carrier].size:
            carrier, offset = carrier + 1, 0
        if (piece.carrier, piece.offset) != (carrier, offset):
            raise MalformedRecord(
                f"index: blob {blob.digest} has a piece at {piece.offset} of carrier"
                f" {piece.carrier} instead of {offset} of carrier {carrier}"
            )
        offset += piece.stored
        if carrier >= len(index.carriers) or offset > index.carriers[carrier].size:
            raise MalformedRecord(f"index: blob {blob.digest} has a piece beyond its carrier's end")
    if not index.carriers or (carrier, offset) != (
        len(index.carriers) - 1,
        index.carriers[-1].size,
    ):
        raise MalformedRecord("index: carriers hold bytes that no piece covers")


def _check_entries(index: Index) -> None:
    """Rule 4: records and manifests are here, and small enough to be read whole."""
    sizes = {blob.digest: blob.size for blob in index.blobs}
    limits = {entry.record: ARTIFACT_LIMIT for entry in index.artifacts}
    limits.update({entry.manifest: MANIFEST_LIMIT for entry in index.artifacts})
    for digest, limit in limits.items():
        if digest not in sizes:
            raise MalformedRecord(f"index: record or manifest {digest} is not among the blobs")
        if sizes[digest] > limit:
            raise MalformedRecord(f"index: record or manifest {digest} exceeds {limit} bytes")
    if sum(sizes[digest] for digest in limits) > CONTENTS_LIMIT:
        raise MalformedRecord(f"index: records and manifests exceed {CONTENTS_LIMIT} bytes")
