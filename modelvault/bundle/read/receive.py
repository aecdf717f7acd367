"""Importing a bundle's blobs: stream, hash, store; files first, records last.

Bytes go straight into the store's partials, without reassembly space. Each piece is
compared with its signed digest before it is written, and made durable before the journal
vouches for it, so that an interrupted import reads nothing twice. A blob gets its name
when its whole digest is right. Blobs of one piece are kept together with others (``store.batch``):
an interruption costs the last of them. Nothing here touches the catalogue: after any failure
the vault holds at most blobs that nothing refers to.
"""

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from modelvault import fsio
from modelvault.bundle.format.codecs import Buffer
from modelvault.bundle.format.index import NONE, BlobPieces, Piece
from modelvault.bundle.medium.files import medium_errors
from modelvault.bundle.pipeline import Treatment, read_ahead
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.bundle.read.cargo import Cargo, read_cargo
from modelvault.bundle.read.runs import Item, Run, find_runs, largest_run
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.fields import UPDATE
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import (
    BlobMissing,
    BundleDamaged,
    DigestMismatch,
    UnknownSigner,
    UnsupportedVersion,
)
from modelvault.store.batch import BlobBatch
from modelvault.store.blobs import Store
from modelvault.store.hashing import FollowingHasher

TASK = "import"
"""The task under which bytes are reported."""

_MOST_FLUSHES = 4
"""Pieces written and not yet durable; bounds what a full or failing disk can surprise with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBundle:
    """What the store holds now; the caller's catalogue does not know it yet."""

    artifacts: tuple[tuple[Artifact, Manifest], ...]
    new_bytes: int
    """Raw bytes that were read from the medium and stored."""
    skipped_bytes: int
    """Raw bytes that the vault, or an interrupted import, already held."""
    left_out: tuple[str, ...]
    """Artefacts that only a newer release reads, one sentence each; nothing of them is stored."""


def _anything(_: Cargo) -> None:
    pass


def import_blobs(
    bundle: VerifiedBundle,
    store: Store,
    progress: Progress | None = None,
    *,
    accept: Callable[[Cargo], None] = _anything,
) -> ImportedBundle:
    """Bring every blob of the bundle into the store; return the artefacts to catalogue.

    The caller holds ``store.writing()`` from before this call until its catalogue has
    committed: until then the blobs are garbage to ``gc``.

    Args:
        bundle: Signed by a key that the policy trusts.
        store: Where blobs go.
        progress: Told about raw bytes under the task ``import``.
        accept: Told what the bundle carries before any of it is read; raises to refuse it.

    Raises:
        UnknownSigner: The bundle was only checked for integrity, against no trusted key.
        BundleDamaged: Carriers, pieces or a whole blob are not what was signed.
        MalformedRecord: Signed, but its parts contradict each other.
        UnsupportedVersion: Only a newer release reads any of its artefacts.
        BlobMissing: The vault lacks files that the bundle assumes it holds.
        NoSpace: The files do not fit; nothing was written.
        VaultBusy: Another process is bringing in one of the blobs.
        StorageError: The medium or the vault's disk refuses.
    """
    if not bundle.verdict.trusted:
        raise UnknownSigner(
            f"{bundle.folder}: verified against no trusted key",
            hint="trust the publisher's key first: modelvault trust add",
        )
    progress = progress or Silence()
    with medium_errors(bundle.folder):
        return _import(bundle, store, progress, accept)


def _import(
    bundle: VerifiedBundle, store: Store, progress: Progress, accept: Callable[[Cargo], None]
) -> ImportedBundle:
    bundle.check_carriers()
    cargo = read_cargo(bundle)
    if not cargo.artifacts:
        raise UnsupportedVersion(
            f"{bundle.folder}: holds nothing that this release reads",
            hint=UPDATE,
            issues=cargo.left_out,
        )
    accept(cargo)
    _require_assumed(bundle, cargo, store)
    wanted = [blob for blob in cargo.files if not store.has(blob.digest, blob.size)]
    fsio.require_space(store.paths.blobs, sum(_space(store, blob) for blob in wanted))
    total = sum(blob.size for blob in cargo.files)
    skipped = total - sum(blob.size for blob in wanted)
    progress.begin(TASK, total=total, done=skipped)
    with _Receiver(bundle, cargo.labels, store, progress) as receiver:
        receiver.receive(wanted)
    _store_records(cargo, store)
    progress.end(TASK)
    return ImportedBundle(
        artifacts=cargo.artifacts,
        new_bytes=receiver.new_bytes,
        skipped_bytes=total - receiver.new_bytes,
        left_out=cargo.left_out,
    )


def _require_assumed(bundle: VerifiedBundle, cargo: Cargo, store: Store) -> None:
    missing = [
        f"blob {blob.digest} of {blob.size} bytes"
        for blob in cargo.assumed
        if not store.has(blob.digest, blob.size)
    ]
    if missing:
        raise BlobMissing(
            f"{bundle.folder}: {len(missing)} files that it builds on are not in this vault",
            hint="import the bundles before it first, or ask for a complete one",
            issues=missing,
        )


def _space(store: Store, blob: BlobPieces) -> int:
    """Return the bytes a blob still needs; an interrupted import has reserved its own."""
    if len(blob.pieces) == 1:
        return blob.size
    try:
        reserved = (store.paths.partials / _key(blob.digest)).stat().st_blocks * 512
    except FileNotFoundError:
        reserved = 0
    return max(blob.size - reserved, 0)


def _key(digest: Digest) -> str:
    return f"sha256-{digest.hex}"


def _store_records(cargo: Cargo, store: Store) -> None:
    """Store manifests, then records; the whole of what they name is durable by now."""
    with store.batch() as batch:
        for _, manifest in cargo.artifacts:
            _put(store, batch, manifest.encode())
        batch.publish()
        for artifact, _ in cargo.artifacts:
            _put(store, batch, artifact.encode())


def _put(store: Store, batch: BlobBatch, data: bytes) -> None:
    digest = Digest.of(data)
    if not store.has(digest, len(data)):
        batch.put(data, digest)


class _Incoming:
    """A blob of several pieces on its way in: its partial, and the hash that follows it."""

    def __init__(self, store: Store, blob: BlobPieces) -> None:
        self.blob = blob
        self._stack = contextlib.ExitStack()
        self.partial = self._stack.enter_context(store.open_partial(_key(blob.digest), blob.size))
        present = self.partial.present
        self.missing = [
            piece for piece in blob.pieces if not present.covers(piece.start, piece.end)
        ]
        """Pieces that are not wholly on disk yet."""
        self.waiting = len(self.missing)
        """How many of them have not arrived."""
        self.resumed = present.total > 0
        """Whether an interrupted import left bytes."""
        try:
            self.hasher = self._stack.enter_context(FollowingHasher(self.partial))
            self.hasher.follow(self.partial.present.prefix)
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Stop hashing and close the partial; what is recorded stays."""
        self._stack.close()


class _Receiver:
    """Moves pieces from carriers to the store; flushing runs behind in its own thread."""

    def __init__(
        self, bundle: VerifiedBundle, labels: Mapping[Digest, str], store: Store, progress: Progress
    ) -> None:
        self._bundle = bundle
        self._labels = labels
        self._store = store
        self._progress = progress
        self._incoming: dict[Digest, _Incoming] = {}
        self._flushes: deque[Future[None]] = deque()
        self._flusher = ThreadPoolExecutor(max_workers=1)
        self._batch = store.batch()
        self._spoiled: list[BlobPieces] = []
        self.new_bytes = 0
        """Raw bytes read from the medium and stored."""

    def __enter__(self) -> Self:
        self._batch.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flusher.shutdown(wait=True)  # before the partials that it works on are closed
        for incoming in self._incoming.values():
            incoming.close()
        self._batch.__exit__(kind, error, trace)

    def receive(self, blobs: Sequence[BlobPieces]) -> None:
        """Store these blobs; partials that turn out spoiled are read a second time."""
        self._receive(blobs)
        again, self._spoiled = self._spoiled, []
        if again:
            self._receive(again)

    def _receive(self, blobs: Sequence[BlobPieces]) -> None:
        pieces = ((blob, piece) for blob in blobs for piece in blob.pieces)
        with self._bundle.carriers() as carriers:
            steps = read_ahead(
                find_runs(self._items(blobs)),
                Treatment(
                    read=lambda run, buffer: run.split(carriers.read(run, buffer)),
                    first=self._open,
                    then=self._check_wholes,
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
                self._progress.advance(TASK, blob.size - left)
                for piece in incoming.missing:
                    yield blob, piece
                if not incoming.missing:
                    self._finish(incoming)

    def _open(self, run: Run, stored: list[memoryview]) -> list[Buffer]:
        opened = []
        for (blob, piece), part in zip(run.items, stored):
            try:
                opened.append(self._bundle.open_piece(piece, part))
            except BundleDamaged as error:
                raise self._damaged(blob, error.message) from error
        return opened

    def _check_wholes(
        self, run: Run, _stored: list[memoryview], opened: list[Buffer]
    ) -> list[Buffer]:
        """Return the raw bytes of pieces; of those that are all of their blob, they are right."""
        for (blob, piece), raw in zip(run.items, opened):
            # Without a codec, piece and blob have one digest: the index was held to that.
            if len(blob.pieces) > 1 or piece.codec == NONE:
                continue
            if hashlib.sha256(raw).hexdigest() != blob.digest.hex:
                raise self._damaged(blob, "the piece verifies, the whole does not")
        return opened

    def _take(self, blob: BlobPieces, piece: Piece, raw: Buffer) -> None:
        self.new_bytes += piece.size
        if len(blob.pieces) == 1:
            self._batch.put(raw, blob.digest)
            return
        incoming = self._incoming[blob.digest]
        incoming.partial.write(piece.start, raw)
        self._flush(incoming, piece)
        incoming.waiting -= 1
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
        computed = incoming.hasher.digest()
        try:
            if computed != incoming.blob.digest and incoming.resumed:
                # The bundle may be right and the bytes of the earlier run wrong.
                incoming.partial.restart()
                self._spoiled.append(incoming.blob)
                self._progress.advance(TASK, -incoming.blob.size)
            else:
                self._store.adopt(incoming.partial, computed, expected=incoming.blob.digest)
        except DigestMismatch as error:
            message = f"the pieces verify, the whole does not; {error.hint}"
            raise self._damaged(incoming.blob, message) from error
        finally:
            incoming.close()
            del self._incoming[incoming.blob.digest]

    def _damaged(self, blob: BlobPieces, what: str) -> BundleDamaged:
        return BundleDamaged(
            f"{self._labels[blob.digest]}: blob {blob.digest}: {what}",
            hint="'modelvault bundle verify' names all damage; copy those files again",
            issues=[f"{self._labels[blob.digest]}: {what}"],
        )
