"""Checking a whole bundle without a vault, and naming all of its damage in one run."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.bundle.format.codecs import Buffer
from modelvault.bundle.format.index import BlobPieces, Piece
from modelvault.bundle.pipeline import Treatment, work_ahead
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.bundle.read.cargo import Cargo, read_cargo
from modelvault.bundle.read.carriers import CarrierReader
from modelvault.bundle.read.runs import Run, find_runs, largest_run
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import BundleDamaged, MediumVanished, StorageError

TASK = "verify"
"""The task under which bytes are reported."""


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
        steps = work_ahead(
            find_runs(bundle.index.pieces()),
            Treatment(read=pieces.read, treat=pieces.open),
            buffer_size=largest_run(bundle.index.pieces()),
        )
        with contextlib.closing(steps):
            for run, opened in steps:
                pieces.take(run, opened)
                progress.advance(TASK, run.stored)
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

    def read(self, run: Run, buffer: memoryview) -> list[memoryview]:
        """Return the stored bytes of each piece; none of those that cannot be read."""
        parts = run.split(buffer)
        if self._can_read(run, buffer):
            return parts
        return [
            part if self._can_read(piece, part) else part[:0]
            for (_, piece), part in zip(run.items, parts)
        ]

    def _can_read(self, range_: Run | Piece, buffer: memoryview) -> bool:
        try:
            self._carriers.read(range_, buffer)
        except (BundleDamaged, StorageError):
            return False
        return True

    def open(self, run: Run, stored: list[memoryview]) -> list[Buffer | str]:
        """Return the raw bytes of each piece, or what is wrong with them."""
        return [self._open(piece, part) for (_, piece), part in zip(run.items, stored)]

    def _open(self, piece: Piece, stored: memoryview) -> Buffer | str:
        if len(stored) != piece.stored:
            return f"{self._bundle.range_of(piece)}: cannot be read"
        try:
            return self._bundle.open_piece(piece, stored)
        except BundleDamaged as error:
            return error.message

    def take(self, run: Run, opened: list[Buffer | str]) -> None:
        """Note what is wrong with pieces and, at a blob's end, with the whole."""
        for (blob, piece), raw in zip(run.items, opened):
            self._take(blob, piece, raw)

    def _take(self, blob: BlobPieces, piece: Piece, raw: Buffer | str) -> None:
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
