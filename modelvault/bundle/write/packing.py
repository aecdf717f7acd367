"""Packing blobs into volumes: read, hash whole and by piece, encode, append.

Every blob is hashed on its way and compared with its name: a bad disk must not be signed. Small
blobs go through many at a time, for the steps between threads cost more than their bytes.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from modelvault import fsio
from modelvault.bundle.format.codecs import PLAIN, Buffer, Encoding, Prover, squeeze
from modelvault.bundle.format.index import NONE, BlobPieces, Carrier, Piece
from modelvault.bundle.pipeline import Treatment, work_ahead
from modelvault.bundle.write.selection import Content, Selection
from modelvault.bundle.write.volumes import VolumeWriter
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.errors import DigestMismatch, SizeMismatch
from modelvault.store.blobs import Store

PIECE = 32 * 1024 * 1024
"""Raw bytes of a piece: small enough to repeat, large enough to keep the index small."""
_LARGE_BUNDLE = 1024**4
"""Raw bytes from which pieces are twice as long, or the index would grow too large."""

_RUN = 4 * 1024 * 1024
_MOST_CUTS = 1024
"""Raw bytes and number of small blobs that are treated at once."""

TASK = "export"
"""The task under which bytes are reported."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """One piece of a blob, before it is encoded."""

    content: Content
    start: int
    size: int

    @property
    def whole(self) -> bool:
        """Whether the piece is all of its blob."""
        return self.size == self.content.size


_Run = tuple[_Cut, ...]
"""Whole blobs, or one cut of a larger one: what is treated at once."""

_Encoded = tuple[str, Buffer, Digest]
"""Codec, stored bytes, and their digest."""


def write_volumes(
    selection: Selection,
    encodings: Mapping[Digest, Encoding],
    store: Store,
    folder: Path,
    *,
    volume_size: int,
    progress: Progress,
) -> tuple[tuple[BlobPieces, ...], tuple[Carrier, ...]]:
    """Write every blob of the selection; return its pieces and the volumes, all durable.

    Args:
        selection: What to write, in order.
        encodings: How to store blobs; those left out are stored as they are.
        store: Holds the files.
        folder: Empty; the volumes go here.
        volume_size: Most bytes of a volume.
        progress: Told about raw bytes under ``TASK``.

    Raises:
        DigestMismatch: A blob has changed on disk.
        SizeMismatch: A blob has become shorter on disk.
        BadOption: There would be too many volumes.
        StorageError: The medium refuses.
    """
    largest = _piece_size(selection.size, volume_size, compressed=bool(encodings))
    pieces: dict[Digest, list[Piece]] = {content.digest: [] for content in selection.contents}
    with contextlib.ExitStack() as stack:
        volumes = stack.enter_context(VolumeWriter(folder, volume_size))
        treatment = _Packing(stack.enter_context(_ContentReader(store)), encodings).treatment()
        steps = work_ahead(
            _runs(_cuts(selection, largest)),
            treatment,
            buffer_size=max(min(largest, max(c.size for c in selection.contents)), _RUN),
        )
        for run, encoded in stack.enter_context(contextlib.closing(steps)):
            for cut, piece in zip(run, encoded):
                pieces[cut.content.digest] += _append_cut(volumes, cut, piece)
            progress.advance(TASK, sum(cut.size for cut in run))
        carriers = volumes.finish()
    blobs = tuple(
        BlobPieces(digest=content.digest, size=content.size, pieces=tuple(pieces[content.digest]))
        for content in selection.contents
    )
    return blobs, carriers


def _piece_size(size: int, volume_size: int, *, compressed: bool) -> int:
    """Return the largest piece to cut, in bytes."""
    largest = PIECE if size <= _LARGE_BUNDLE else 2 * PIECE
    if compressed:
        # Raw, stored and proven forms are in memory at once, of several pieces; and a compressed
        # piece that does not fit into a volume wastes the space that is left there.
        parts = 4 if size <= _LARGE_BUNDLE // 4 else 2
        largest = min(largest // parts, volume_size // 16)
    return max(min(largest, volume_size), 1)


def _cuts(selection: Selection, largest: int) -> Iterator[_Cut]:
    for content in selection.contents:
        for start in range(0, content.size, largest):
            yield _Cut(content, start, min(largest, content.size - start))


def _runs(cuts: Iterable[_Cut]) -> Iterator[_Run]:
    """Yield cuts in the same order, small blobs together."""
    run: list[_Cut] = []
    size = 0
    for cut in cuts:
        if run and not (cut.whole and run[-1].whole and size + cut.size <= _RUN):
            yield tuple(run)
            run, size = [], 0
        run.append(cut)
        size += cut.size
        if len(run) == _MOST_CUTS:
            yield tuple(run)
            run, size = [], 0
    if run:
        yield tuple(run)


class _Packing:
    """What happens to each run of cuts between reading and writing."""

    def __init__(self, reader: "_ContentReader", encodings: Mapping[Digest, Encoding]) -> None:
        self._reader = reader
        self._encodings = encodings
        self._kept = threading.local()

    def treatment(self) -> Treatment[_Run, list[memoryview], list[_Encoded]]:
        """Return the steps."""
        return Treatment(read=self._reader.read, look=self._reader.check, treat=self._encode_run)

    def _encode_run(self, run: _Run, raws: list[memoryview]) -> list[_Encoded]:
        return [self._encode(cut, raw) for cut, raw in zip(run, raws)]

    def _encode(self, cut: _Cut, raw: memoryview) -> _Encoded:
        if not hasattr(self._kept, "prover"):  # of this thread, which keeps its memory
            self._kept.prover = Prover()
        encoding = self._encodings.get(cut.content.digest, PLAIN)
        codec, stored = self._kept.prover.prove(raw, encoding, squeeze(raw, encoding))
        if codec == NONE and cut.whole:
            return codec, stored, cut.content.digest  # with which it was compared
        return codec, stored, Digest(hashlib.sha256(stored).hexdigest())


def _append_cut(volumes: VolumeWriter, cut: _Cut, encoded: _Encoded) -> list[Piece]:
    """Write one encoded piece; without codec it is split where a volume ends."""
    kind, stored, digest = encoded
    if kind != NONE:
        if len(stored) > volumes.remaining:
            volumes.roll()
        carrier, offset = volumes.append(stored)
        piece = Piece(
            start=cut.start,
            size=cut.size,
            codec=kind,
            carrier=carrier,
            offset=offset,
            stored=len(stored),
            digest=digest,
        )
        return [piece]
    pieces: list[Piece] = []
    position = 0
    while position < cut.size:
        if volumes.remaining == 0:
            volumes.roll()
        part = memoryview(stored)[position : position + volumes.remaining]
        carrier, offset = volumes.append(part)
        whole = len(part) == cut.size
        pieces.append(
            Piece(
                start=cut.start + position,
                size=len(part),
                codec=NONE,
                carrier=carrier,
                offset=offset,
                stored=len(part),
                digest=digest if whole else Digest(hashlib.sha256(part).hexdigest()),
            )
        )
        position += len(part)
    return pieces


class _ContentReader:
    """Reads blobs front to back, and hashes each as a whole beside that."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stack = contextlib.ExitStack()
        self._open: Digest | None = None
        self._file: BinaryIO
        self._hasher = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def read(self, run: _Run, buffer: memoryview) -> list[memoryview]:
        """Fill the buffer with the cuts; return the part of each."""
        parts, position = [], 0
        for cut in run:
            parts.append(buffer[position : position + cut.size])
            self._fill(cut, parts[-1])
            position += cut.size
        return parts

    def _fill(self, cut: _Cut, view: memoryview) -> None:
        if cut.content.data is not None:
            view[:] = cut.content.data[cut.start : cut.start + cut.size]
            return
        if cut.content.digest != self._open:
            self._stack.close()
            self._file = self._stack.enter_context(self._store.open_blob(cut.content.digest))
            self._open = cut.content.digest
        descriptor, filled = self._file.fileno(), 0
        with fsio.storage_errors(self._file.name):
            while filled < cut.size:
                count = os.preadv(descriptor, [view[filled:]], cut.start + filled)
                if count == 0:
                    raise SizeMismatch(
                        f"{cut.content.label}: blob {cut.content.digest} has become shorter",
                        hint="run 'modelvault verify', then pull the model again",
                    )
                filled += count

    def check(self, run: _Run, raws: list[memoryview]) -> None:
        """Hash the cuts; at a blob's end compare the digest of the whole."""
        for cut, raw in zip(run, raws):
            if cut.start == 0:
                self._hasher = hashlib.sha256()
            self._hasher.update(raw)
            if cut.start + cut.size == cut.content.size:
                self._compare(cut.content, self._hasher.hexdigest())

    def _compare(self, content: Content, computed: str) -> None:
        if computed != content.digest.hex:
            raise DigestMismatch(
                f"{content.label}: blob {content.digest} hashes to {computed}",
                hint="the disk has changed it: run 'modelvault verify', then pull the model again",
            )
