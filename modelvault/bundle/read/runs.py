"""Runs: whole blobs that follow each other in one carrier, and are read and treated at once.

Of twenty thousand small files each is a piece of its own: asked for one by one they would cost
far more than their bytes do. A piece of a larger blob is a run by itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelvault.bundle.format.index import BlobPieces, Piece

LARGEST = 4 * 1024 * 1024
"""Stored bytes of a run of several pieces; a larger piece is a run by itself."""
_MOST_PIECES = 1024

Item = tuple[BlobPieces, Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One range of a carrier, and the pieces that fill it."""

    items: tuple[Item, ...]
    """In order, each with its blob."""
    carrier: int
    """Position in ``Index.carriers``."""
    offset: int
    """Where the range begins in the carrier."""
    stored: int
    """Its length in the carrier, in bytes."""

    @property
    def size(self) -> int:
        """Raw bytes of all pieces."""
        return sum(piece.size for _, piece in self.items)

    def split(self, stored: memoryview) -> list[memoryview]:
        """Return the stored bytes of each piece.

        Args:
            stored: Those of the run.
        """
        parts, position = [], 0
        for _, piece in self.items:
            parts.append(stored[position : position + piece.stored])
            position += piece.stored
        return parts


def find_runs(items: Iterable[Item]) -> Iterator[Run]:
    """Yield pieces as runs, in the same order.

    Args:
        items: Pieces with their blobs; taken no further ahead than the run that they make.
    """
    run: list[Item] = []
    stored = 0
    for item in items:
        piece = item[1]
        if run and not _follows(run, stored, item):
            yield _make(run, stored)
            run, stored = [], 0
        run.append(item)
        stored += piece.stored
    if run:
        yield _make(run, stored)


def largest_run(items: Iterable[Item]) -> int:
    """Return the most stored bytes that a run of these pieces can have."""
    total = largest = 0
    for _, piece in items:
        total += piece.stored
        largest = max(largest, piece.stored)
    return max(largest, min(total, LARGEST))


def _follows(run: list[Item], stored: int, item: Item) -> bool:
    (blob_before, before), (blob, piece) = run[-1], item
    adjacent = piece.carrier == before.carrier and piece.offset == before.offset + before.stored
    whole = len(blob_before.pieces) == len(blob.pieces) == 1  # parts of a blob are kept one by one
    return adjacent and whole and stored + piece.stored <= LARGEST and len(run) < _MOST_PIECES


def _make(run: list[Item], stored: int) -> Run:
    first = run[0][1]
    return Run(items=tuple(run), carrier=first.carrier, offset=first.offset, stored=stored)
