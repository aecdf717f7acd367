"""What garbage collection removes: a decision, without touching the disk."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from modelvault.core.digest import Digest
from modelvault.store.blobs import BlobFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """Blobs that nothing refers to."""

    blobs: tuple[BlobFile, ...]

    @property
    def size(self) -> int:
        """Bytes that removing them frees, unless something else links to the files."""
        return sum(blob.size for blob in self.blobs)


def find_garbage(blobs: Iterable[BlobFile], referenced: AbstractSet[Digest]) -> Garbage:
    """Return the blobs that are not referenced.

    Args:
        blobs: Everything in the store.
        referenced: Digests of artefact records, manifests and files in the catalogue.
    """
    return Garbage(blobs=tuple(blob for blob in blobs if blob.digest not in referenced))
