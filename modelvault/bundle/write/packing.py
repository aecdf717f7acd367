"""Packing blobs into volumes: read, hash whole and by piece, encode, append.

Every blob is hashed on its way and compared with its name: a bad disk must not be signed.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from modelvault import fsio
from modelvault.bundle.format.codecs import PLAIN, Buffer, Encoding, encode
from modelvault.bundle.format.index import NONE, BlobPieces, Carrier, Piece
from modelvault.bundle.pipeline import read_ahead
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

TASK = "export"
"""The task under which bytes are reported."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """One piece of a blob, before it is encoded."""

    content: Content
    start: int
    size: int


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
        reader = stack.enter_context(_ContentReader(store))
        volumes = stack.enter_context(VolumeWriter(folder, volume_size))
        steps = read_ahead(
            _cuts(selection, largest),
            buffer_size=min(largest, max(content.size for content in selection.contents)),
            read=reader.read,
            first=lambda cut, raw: _encode_cut(raw, encodings.get(cut.content.digest, PLAIN)),
            second=reader.check,
        )
        for cut, raw, encoded, _ in stack.enter_context(contextlib.closing(steps)):
            pieces[cut.content.digest] += _append_cut(volumes, cut, raw, encoded)
            progress.advance(TASK, cut.size)
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
        # Raw and stored forms are in memory at once; and a compressed piece that does not
        # fit into a volume wastes the space that is left there.
        largest = min(largest // 2, volume_size // 16)
    return max(min(largest, volume_size), 1)


def _cuts(selection: Selection, largest: int) -> Iterator[_Cut]:
    for content in selection.contents:
        for start in range(0, content.size, largest):
            yield _Cut(content, start, min(largest, content.size - start))


def _encode_cut(raw: memoryview, encoding: Encoding) -> tuple[str, Buffer, Digest]:
    kind, stored = encode(raw, encoding)
    return kind, stored, Digest(hashlib.sha256(stored).hexdigest())


def _append_cut(
    volumes: VolumeWriter, cut: _Cut, raw: memoryview, encoded: tuple[str, Buffer, Digest]
) -> list[Piece]:
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
        part = raw[position : position + volumes.remaining]
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
        self._descriptor = -1
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

    def read(self, cut: _Cut, buffer: memoryview) -> memoryview:
        """Fill the buffer with the piece."""
        view = buffer[: cut.size]
        if cut.content.data is not None:
            view[:] = cut.content.data[cut.start : cut.start + cut.size]
            return view
        if cut.content.digest != self._open:
            self._stack.close()
            file = self._stack.enter_context(self._store.open_blob(cut.content.digest))
            self._open, self._descriptor = cut.content.digest, file.fileno()
        filled = 0
        with fsio.storage_errors(self._store.path(cut.content.digest)):
            while filled < cut.size:
                count = os.preadv(self._descriptor, [view[filled:]], cut.start + filled)
                if count == 0:
                    raise SizeMismatch(
                        f"{cut.content.label}: blob {cut.content.digest} has become shorter",
                        hint="run 'modelvault verify', then pull the model again",
                    )
                filled += count
        return view

    def check(self, cut: _Cut, raw: memoryview) -> None:
        """Hash the piece; at a blob's end compare the digest of the whole."""
        if cut.start == 0:
            self._hasher = hashlib.sha256()
        self._hasher.update(raw)
        computed = self._hasher.hexdigest()
        if cut.start + cut.size == cut.content.size and computed != cut.content.digest.hex:
            raise DigestMismatch(
                f"{cut.content.label}: blob {cut.content.digest} hashes to {computed}",
                hint="the disk has changed it: run 'modelvault verify', then pull the model again",
            )
