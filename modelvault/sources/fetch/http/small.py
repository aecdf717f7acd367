"""A file so small that it is fetched again rather than resumed: it comes in memory.

A partial costs a lock, a journal, a reservation, a thread and five flushes; a model of
thousands of small files would spend its time on those. Here the bytes are hashed before
they touch the disk, and then written, flushed and named as one.
"""

import hashlib
from collections import deque

from modelvault.core.digest import Digest, git_blob_hasher
from modelvault.core.ports import Progress, Retried
from modelvault.errors import Corruption, DigestMismatch, SizeMismatch
from modelvault.sources.fetch.file import GitBlob, RemoteFile
from modelvault.sources.fetch.http.location import Location
from modelvault.sources.fetch.incoming import Segment
from modelvault.store.blobs import Store

LARGEST = 256 * 1024
"""Bytes; above this a file gets a partial, so that an interruption keeps what came."""


class SmallFile:
    """A file that one worker fetches with one request; ``SegmentedFile`` is for the others."""

    partial = None
    """Nothing stands on disk before ``publish``."""

    def __init__(
        self, file: RemoteFile, location: Location, store: Store, progress: Progress
    ) -> None:
        """Begin with nothing.

        Args:
            file: What is fetched; at most ``LARGEST`` bytes.
            location: Where its bytes are.
            store: Where it goes.
            progress: Told about bytes, under the file's path.
        """
        self.file = file
        self.location = location
        self._store = store
        self._progress = progress
        self._data = bytearray()
        self.segments: deque[Segment] = deque([(0, file.size)] if file.size else [])
        """The file's only range, until a worker takes it; guarded by the lock of the workers."""
        self.whole = False
        """Whether the file has to come as one stream; guarded by the lock of the workers."""
        self.active = 0
        """Workers at it; guarded by the lock of the workers."""
        self.failed = False
        """Whether it was given up; guarded by the lock of the workers."""
        progress.begin(file.path, total=file.size)

    def missing_from(self, segment: Segment) -> int:
        """Return the first byte of a range that has not arrived; its end when all have."""
        start, end = segment
        return min(max(start, len(self._data)), end)

    def write(self, offset: int, data: bytes) -> int:
        """Take what is new of some bytes; return how many were."""
        have = len(self._data)
        new = data[have - offset : self.file.size - offset] if offset <= have else b""
        if new:
            self._data += new
            self._progress.advance(self.file.path, len(new))
        return len(new)

    def retry(self, reason: str) -> None:
        """Report that a part of the file is asked for again."""
        self._progress.advance(self.file.path, 0, event=Retried(reason=reason))

    def publish(self) -> Digest:
        """Check every byte, and make the file a blob; return its digest.

        Raises:
            DigestMismatch: The bytes are not what was declared; they are in quarantine.
            SizeMismatch: Bytes are still missing.
            StorageError: The file system refuses.
        """
        if len(self._data) != self.file.size:
            raise SizeMismatch(f"{self.file.path}: {len(self._data)} of {self.file.size} bytes")
        is_git = isinstance(self.file.checksum, GitBlob)
        hasher = git_blob_hasher(self.file.size) if is_git else hashlib.sha256()
        hasher.update(self._data)
        if (found := hasher.hexdigest()) != self.file.checksum.hex:
            self._quarantine(self.file.checksum.hex, found)
        data = bytes(self._data)
        self._clear_damaged(Digest.of(data))
        return self._store.put(data)

    def _clear_damaged(self, digest: Digest) -> None:
        """Set aside a blob of this name whose bytes have changed on disk: ours are right."""
        if self._store.has(digest):
            try:
                self._store.read(digest, limit=self.file.size)
            except Corruption:
                self._store.condemn(digest, "found damaged when it was fetched again")

    def _quarantine(self, expected: str, found: str) -> None:
        kind = "git blob id" if isinstance(self.file.checksum, GitBlob) else "sha256"
        with self._store.open_partial(self.file.key, self.file.size, wait=5.0) as partial:
            partial.write(0, self._data)
            partial.record(0, self.file.size)
            where = self._store.set_aside(partial, f"expected {expected}, computed {found}")
        raise DigestMismatch(
            f"{self.file.path}: its {kind} is {found} instead of {expected}",
            hint=f"they are kept in {where}",
        )

    def stop(self) -> None:
        """Do nothing: ``publish`` does not wait."""

    def end(self, *, note: str = "") -> None:
        """Forget the bytes."""
        self._data = bytearray()
        self._progress.end(self.file.path, note=note)
