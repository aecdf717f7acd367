"""Moving blobs from carriers into the store, piece after piece, whatever of them is damaged.

A damaged piece costs its blob and no other. The rest of such a blob is read all the same, so
that one run finds all damage, and its partial is left: once the volume is mended, only what was
damaged is read again. Blobs of one piece are kept together with others (``store.batch``): an
interruption costs the last of them.
"""

import contextlib
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from modelvault.bundle.format.codecs import Buffer
from modelvault.bundle.format.index import NONE, BlobPieces, Piece
from modelvault.bundle.pipeline import Treatment, work_ahead
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.bundle.read.carriers import CarrierReader
from modelvault.bundle.read.runs import Item, Run, find_runs, largest_run
from modelvault.core.digest import Digest
from modelvault.core.ports import Held, Progress
from modelvault.errors import BundleDamaged, DigestMismatch, MediumVanished
from modelvault.store.blobs import Store
from modelvault.store.hashing import FollowingHasher

TASK = "import"
"""The task under which bytes are reported."""

_MOST_FLUSHES = 4
"""Pieces written and not yet durable; bounds what a full or failing disk can surprise with."""


def partial_key(digest: Digest) -> str:
    """Return the key of the partial that a blob comes in through."""
    return f"sha256-{digest.hex}"


class _Incoming:
    """A blob of several pieces on its way in: its partial, and the hash that follows it."""

    def __init__(self, store: Store, blob: BlobPieces) -> None:
        self.blob = blob
        self._stack = contextlib.ExitStack()
        self.partial = self._stack.enter_context(
            store.open_partial(partial_key(blob.digest), blob.size)
        )
        present = self.partial.present
        self.missing = [
            piece for piece in blob.pieces if not present.covers(piece.start, piece.end)
        ]
        """Pieces that are not wholly on disk yet."""
        self.waiting = len(self.missing)
        """How many of them have not arrived."""
        self.resumed = present.total > 0
        """Whether an interrupted import left bytes."""
        self.damaged = False
        """Whether a piece of it could not be had."""
        try:
            self.hasher = self._stack.enter_context(FollowingHasher(self.partial))
            self.hasher.follow(self.partial.present.prefix)
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Stop hashing and close the partial; what is recorded stays."""
        self._stack.close()


class Receiver:
    """Moves pieces from carriers to the store; flushing runs behind in its own thread."""

    def __init__(
        self, bundle: VerifiedBundle, labels: Mapping[Digest, str], store: Store, progress: Progress
    ) -> None:
        """Receive nothing yet; use it in a ``with`` block.

        Args:
            bundle: Signed by a key that the policy trusts.
            labels: What people call a blob.
            store: Where blobs go.
            progress: Told about raw bytes under the task ``import``.
        """
        self._bundle = bundle
        self._labels = labels
        self._store = store
        self._progress = progress
        self._incoming: dict[Digest, _Incoming] = {}
        self._flushes: deque[Future[None]] = deque()
        self._flusher = ThreadPoolExecutor(max_workers=1)
        self._batch = store.batch()
        self._spoiled: list[BlobPieces] = []
        self._unread: dict[tuple[int, int], str] = {}
        self._proof: Piece | None = None
        self.damage: dict[Digest, list[str]] = {}
        """What is wrong with blobs that could not be had whole, a sentence each."""
        self.new_bytes = 0
        """Raw bytes read from the medium and stored."""

    def __enter__(self) -> Self:
        """Return the receiver."""
        self._batch.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the partials, once nothing works on them any more."""
        self._flusher.shutdown(wait=True)
        for incoming in self._incoming.values():
            incoming.close()
        self._batch.__exit__(kind, error, trace)

    def receive(self, blobs: Sequence[BlobPieces]) -> None:
        """Store these blobs; partials that turn out spoiled are read a second time.

        Raises:
            MediumVanished: The medium gives nothing any more.
            StorageError: The vault's disk refuses.
            VaultBusy: Another process is bringing in one of the blobs.
        """
        self._receive(blobs)
        again, self._spoiled = self._spoiled, []
        if again:
            self._receive(again)

    def _receive(self, blobs: Sequence[BlobPieces]) -> None:
        pieces = ((blob, piece) for blob in blobs for piece in blob.pieces)
        with self._bundle.carriers() as carriers:
            steps = work_ahead(
                find_runs(self._items(blobs)),
                Treatment(
                    read=lambda run, buffer: self._read(carriers, run, buffer),
                    treat=self._open,
                ),
                buffer_size=largest_run(pieces),
            )
            with contextlib.closing(steps):
                for run, opened in steps:
                    self._progress.advance(TASK, run.size)
                    for (blob, piece), raw in zip(run.items, opened):
                        self._take(blob, piece, raw)

    def _items(self, blobs: Sequence[BlobPieces]) -> Iterator[Item]:
        """Yield what has to be read; runs in the caller's thread, a few pieces ahead."""
        for blob in blobs:
            if not blob.pieces:
                self._batch.put(b"", blob.digest)
            elif len(blob.pieces) == 1:
                yield blob, blob.pieces[0]
            else:
                incoming = _Incoming(self._store, blob)
                self._incoming[blob.digest] = incoming
                left = sum(piece.size for piece in incoming.missing)
                self._progress.advance(TASK, blob.size - left, event=Held())
                for piece in incoming.missing:
                    yield blob, piece
                if not incoming.missing:
                    self._finish(incoming)

    def _read(self, carriers: CarrierReader, run: Run, buffer: memoryview) -> list[memoryview]:
        """Return the stored bytes of each piece; none of those that cannot be read."""
        parts = run.split(buffer)
        if len(parts) > 1:
            with contextlib.suppress(BundleDamaged, MediumVanished):
                carriers.read(run, buffer)
                return parts
        return [
            self._read_piece(carriers, piece, part) for (_, piece), part in zip(run.items, parts)
        ]

    def _read_piece(self, carriers: CarrierReader, piece: Piece, buffer: memoryview) -> memoryview:
        try:
            return carriers.read(piece, buffer)
        except BundleDamaged as error:
            reason = f"{self._bundle.range_of(piece)}: {error.message}"
        except MediumVanished as error:
            # A scratch on a disc is damage; a medium that gives nothing any more is not.
            if self._proof is None or not carriers.answers(self._proof):
                raise
            reason = f"{self._bundle.range_of(piece)}: cannot be read: {error.message}"
        self._unread[piece.carrier, piece.offset] = reason
        return buffer[:0]

    def _open(self, run: Run, stored: list[memoryview]) -> list[Buffer | str]:
        """Return the raw bytes of each piece, or what is wrong with it."""
        return [
            self._open_piece(blob, piece, part) for (blob, piece), part in zip(run.items, stored)
        ]

    def _open_piece(self, blob: BlobPieces, piece: Piece, stored: memoryview) -> Buffer | str:
        if len(stored) != piece.stored:
            return self._unread.pop((piece.carrier, piece.offset))
        try:
            raw = self._bundle.open_piece(piece, stored)
        except BundleDamaged as error:
            return error.message
        self._proof = piece
        return self._check_whole(blob, piece, raw)

    def _check_whole(self, blob: BlobPieces, piece: Piece, raw: Buffer) -> Buffer | str:
        """Return the same, where a piece that is all of its blob is right as that, too."""
        # Without a codec, piece and blob have one digest: the index was held to that.
        if len(blob.pieces) > 1 or piece.codec == NONE:
            return raw
        right = hashlib.sha256(raw).hexdigest() == blob.digest.hex
        return raw if right else "the piece verifies, the whole does not"

    def _take(self, blob: BlobPieces, piece: Piece, raw: Buffer | str) -> None:
        if isinstance(raw, str):
            self._note(blob, raw)
        else:
            self.new_bytes += piece.size
        if len(blob.pieces) == 1:
            if not isinstance(raw, str):
                self._batch.put(raw, blob.digest)
            return
        incoming = self._incoming[blob.digest]
        incoming.waiting -= 1
        if isinstance(raw, str):
            incoming.damaged = True
        else:
            incoming.partial.write(piece.start, raw)
            self._flush(incoming, piece)
            if not incoming.damaged:
                # Pieces come in order: before the next missing one, everything is there.
                incoming.hasher.follow(piece.end)
        if not incoming.waiting:
            self._finish(incoming)

    def _flush(self, incoming: _Incoming, piece: Piece) -> None:
        self._flushes.append(self._flusher.submit(incoming.partial.record, piece.start, piece.end))
        while len(self._flushes) > _MOST_FLUSHES:
            self._flushes.popleft().result()

    def _finish(self, incoming: _Incoming) -> None:
        """Give a complete blob its name, if its digest is right."""
        while self._flushes:
            self._flushes.popleft().result()
        try:
            if not incoming.damaged:
                self._adopt(incoming)
        except DigestMismatch as error:
            self._note(incoming.blob, f"the pieces verify, the whole does not; {error.hint}")
        finally:
            incoming.close()
            del self._incoming[incoming.blob.digest]

    def _adopt(self, incoming: _Incoming) -> None:
        computed = incoming.hasher.digest()
        if computed != incoming.blob.digest and incoming.resumed:
            # The bundle may be right and the bytes of the earlier run wrong.
            incoming.partial.restart()
            self._spoiled.append(incoming.blob)
            self._progress.advance(TASK, -incoming.blob.size)
        else:
            self._store.adopt(incoming.partial, computed, expected=incoming.blob.digest)

    def _note(self, blob: BlobPieces, what: str) -> None:
        label = self._labels[blob.digest]
        self.damage.setdefault(blob.digest, []).append(f"{label}: blob {blob.digest}: {what}")
