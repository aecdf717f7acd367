"""Which artefacts of a damaged bundle are whole, as far as its carriers show before reading.

A volume that is missing or cut short costs the artefacts that need what is gone of it, and no
other. Where only a volume's beginning is wrong, that part and its last piece are read to see
whether the rest is this bundle's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from modelvault.bundle.format.index import HEAD, BlobPieces, Piece
from modelvault.bundle.medium.faults import Fault
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.bundle.read.cargo import Cargo, DamagedArtifact
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.errors import BundleDamaged, StorageError
from modelvault.store.blobs import Store


@dataclass(slots=True)
class Losses:
    """What is lost of a bundle, and of whom."""

    bundle: VerifiedBundle
    faults: Sequence[Fault]
    """What is wrong with its carriers."""
    artifacts: dict[Digest, DamagedArtifact] = field(default_factory=dict)
    """Those that were found not to be whole, by their digest."""
    _bad_pieces: dict[int, frozenset[Digest] | None] = field(default_factory=dict)

    def note(self, artifact: Artifact, reasons: Sequence[str]) -> None:
        """Take note of an artefact that is not whole."""
        self.artifacts[artifact.digest] = DamagedArtifact(
            digest=artifact.digest,
            label=artifact.label,
            reasons=tuple(dict.fromkeys(reasons)),
        )

    def forecast(self, cargo: Cargo, store: Store) -> None:
        """Note the artefacts that cannot be whole, because of files that the store lacks."""
        if all(fault.carrier is None for fault in self.faults):
            return
        by_digest = {blob.digest: blob for blob in cargo.files}
        for artifact, manifest in cargo.artifacts:
            reasons = [
                reason
                for file in manifest.files
                if file.digest in by_digest and not store.has(file.digest, file.size)
                for reason in self._reasons(by_digest[file.digest])
            ]
            if reasons:
                self.note(artifact, reasons)

    def _reasons(self, blob: BlobPieces) -> list[str]:
        return [
            fault.message
            for piece in blob.pieces
            for fault in self.faults
            if fault.carrier == piece.carrier and self._is_lost(piece, fault)
        ]

    def _is_lost(self, piece: Piece, fault: Fault) -> bool:
        carrier = self.bundle.index.carriers[piece.carrier]
        if fault.usable < carrier.size:
            return piece.offset + piece.stored > fault.usable
        if piece.carrier not in self._bad_pieces:
            self._bad_pieces[piece.carrier] = self._try(piece.carrier)
        bad = self._bad_pieces[piece.carrier]
        return bad is None or piece.digest in bad

    def _try(self, carrier: int) -> frozenset[Digest] | None:
        """Return the damaged pieces at a carrier's beginning; None where nothing of it is right."""
        pieces = [piece for _, piece in self.bundle.index.pieces() if piece.carrier == carrier]
        last = max(pieces, key=lambda piece: piece.offset)
        if not self._reads(last):
            return None
        first = [piece for piece in pieces if piece.offset < HEAD]
        return frozenset(piece.digest for piece in first if not self._reads(piece))

    def _reads(self, piece: Piece) -> bool:
        try:
            self.bundle.read_piece(piece)
        except (BundleDamaged, StorageError):
            return False
        return True
