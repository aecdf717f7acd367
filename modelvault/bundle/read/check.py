"""Checking a whole bundle without a vault, and naming all of its damage in one run."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.bundle.format.codecs import Buffer
from modelvault.bundle.format.index import BlobPieces, Piece
from modelvault.bundle.pipeline import read_ahead
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.bundle.read.cargo import Cargo, read_cargo
from modelvault.bundle.read.carriers import CarrierReader
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import BundleDamaged, MediumVanished, StorageError

TASK = "verify"
"""The task under which bytes are reported."""

Job = tuple[BlobPieces, Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBundle:
    """A bundle in which every byte is as it was signed."""

    cargo: Cargo
    pieces: int
    """How many were hashed."""
    size: int
    """Stored bytes that were read."""


def check_bundle(bundle: VerifiedBundle, progress: Progress | None = None) -> CheckedBundle:
    """Read and hash everything; return what the bundle carries.

    Goes on after damage, so that one run names all of it.

    Args:
        bundle: Signed and sound.
        progress: Told about stored bytes under the task ``verify``.

    Raises:
        BundleDamaged: ``issues`` names every carrier, and every piece with its carrier, blob
            and file.
        MalformedRecord: All bytes are as signed, but records contradict each other.
        StorageError: The medium refuses.
    """
    progress = progress or Silence()
    issues: list[str] = []
    cargo = None
    labels: Mapping[Digest, str] = {}
    try:
        bundle.check_carriers()
    except BundleDamaged as error:
        issues += error.issues
    try:
        cargo = read_cargo(bundle)
        labels = cargo.labels
    except BundleDamaged as error:
        issues += error.issues  # the pieces below name the same bytes, without their meaning
    except MediumVanished as error:
        issues.append(error.message)  # a carrier that is missing, as found above
    progress.begin(TASK, total=bundle.index.stored_size)
    issues += _check_pieces(bundle, labels, progress)
    progress.end(TASK)
    if issues or cargo is None:
        raise BundleDamaged(
            f"{bundle.folder}: {len(issues)} faults",
            hint="copy the files named here again from where the bundle was exported",
            issues=issues,
        )
    return CheckedBundle(
        cargo=cargo,
        pieces=sum(len(blob.pieces) for blob in bundle.index.blobs),
        size=bundle.index.stored_size,
    )


def _check_pieces(
    bundle: VerifiedBundle, labels: Mapping[Digest, str], progress: Progress
) -> list[str]:
    """Return a sentence per damaged piece, and per blob whose whole is wrong."""
    with bundle.carriers() as carriers:
        pieces = _Pieces(bundle, carriers, labels)
        steps = read_ahead(
            bundle.index.pieces(),
            buffer_size=max(piece.stored for _, piece in bundle.index.pieces()),
            read=pieces.read,
            first=pieces.open,
            second=lambda _job, _stored: None,
        )
        with contextlib.closing(steps):
            for (blob, piece), _, raw, _ in steps:
                pieces.take(blob, piece, raw)
                progress.advance(TASK, piece.stored)
    return pieces.issues


class _Pieces:
    """Collects what is wrong with pieces, instead of stopping at the first."""

    def __init__(
        self, bundle: VerifiedBundle, carriers: CarrierReader, labels: Mapping[Digest, str]
    ) -> None:
        self._bundle = bundle
        self._carriers = carriers
        self._labels = labels
        self._hasher = hashlib.sha256()
        self._sound = True
        self.issues: list[str] = []

    def read(self, job: Job, buffer: memoryview) -> memoryview:
        """Return the stored bytes; none when they cannot be read."""
        try:
            return self._carriers.read(job[1], buffer)
        except (BundleDamaged, StorageError):
            return buffer[:0]

    def open(self, job: Job, stored: memoryview) -> Buffer | str:
        """Return the raw bytes, or what is wrong with them."""
        piece = job[1]
        if len(stored) != piece.stored:
            return f"{self._bundle.range_of(piece)}: cannot be read"
        try:
            return self._bundle.open_piece(piece, stored)
        except BundleDamaged as error:
            return error.message

    def take(self, blob: BlobPieces, piece: Piece, raw: Buffer | str) -> None:
        """Note what is wrong with a piece, and at a blob's end with the whole."""
        name = f"blob {blob.digest}, {self._labels.get(blob.digest, 'a record or manifest')}"
        if piece.start == 0:
            self._hasher, self._sound = hashlib.sha256(), True
        if isinstance(raw, str):
            self.issues.append(f"{raw} ({name})")
            self._sound = False
        elif self._sound and blob.plain is None:
            self._hasher.update(raw)
            if piece.end == blob.size and self._hasher.hexdigest() != blob.digest.hex:
                self.issues.append(f"{name}: the pieces verify, the whole does not")
