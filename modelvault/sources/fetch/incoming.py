"""An incoming file: its partial, what of it has come, who hashes it, how it ends.

Every engine brings its bytes through here, so that no way of fetching has a shorter way
into the store than another.

Invariant: no byte is written twice. The hasher reads each byte once, right after it was
written; were a later, different answer allowed to write over it, the digest would vouch
for bytes that are no longer there.
"""

import contextlib
import threading

from modelvault.core.digest import Digest, git_blob_hasher
from modelvault.core.ports import Progress, Retried
from modelvault.core.ranges import RangeSet
from modelvault.errors import DigestMismatch, SizeMismatch
from modelvault.sources.fetch.file import GitBlob, RemoteFile
from modelvault.store.blobs import Store
from modelvault.store.hashing import FollowingHasher

Segment = tuple[int, int]
"""Start and end of a range in bytes; the end is not part of it."""


class IncomingFile:
    """A file that is being fetched, with its partial open and locked."""

    def __init__(self, file: RemoteFile, store: Store, progress: Progress) -> None:
        """Open the partial and begin to hash what an earlier run left in it.

        Args:
            file: What is fetched.
            store: Where it goes.
            progress: Told about bytes, under the file's path.

        Raises:
            VaultBusy: Another process is fetching it.
            NoSpace: Its length does not fit on the disk.
        """
        self.file = file
        self._store = store
        self._progress = progress
        self._mutex = threading.Lock()
        self._git = git_blob_hasher(file.size) if isinstance(file.checksum, GitBlob) else None
        with contextlib.ExitStack() as stack:
            self.partial = stack.enter_context(store.open_partial(file.key, file.size))
            also = () if self._git is None else (self._git,)
            self._hasher = stack.enter_context(FollowingHasher(self.partial, also=also))
            self._stack = stack.pop_all()
        self._arrived = RangeSet()
        for start, end in _between(self.partial.missing(), file.size):
            self._arrived.add(start, end)
        self._hasher.follow(self._arrived.prefix)
        progress.begin(file.path, total=file.size, done=self._arrived.total)

    def gaps(self) -> list[Segment]:
        """Return the ranges that have not arrived, in order."""
        with self._mutex:
            return self._arrived.gaps(self.file.size)

    def write(self, offset: int, data: bytes) -> int:
        """Write what is new of some bytes; return how many were.

        Raises:
            StorageError: The file system refuses.
        """
        view = memoryview(data)
        new = 0
        for first, last in self.gaps():
            start, end = max(first, offset), min(last, offset + len(data))
            if start < end:
                self.partial.write(start, view[start - offset : end - offset])
                self.take_note(start, end)
                new += end - start
        if new:
            self._progress.advance(self.file.path, new)
        return new

    def take_note(self, start: int, end: int) -> None:
        """Take note of bytes that another process has written into the partial's file.

        They are hashed as they stand there; no engine may write them again.
        """
        with self._mutex:
            self._arrived.add(start, end)
            prefix = self._arrived.prefix
        self._hasher.follow(prefix)

    def advance(self, amount: int) -> None:
        """Report bytes that were not written through ``write``."""
        self._progress.advance(self.file.path, amount)

    def retry(self, reason: str) -> None:
        """Report that a part of the file is asked for again."""
        self._progress.advance(self.file.path, 0, event=Retried(reason=reason))

    def publish(self) -> Digest:
        """Check every byte, and make the file a blob; return its digest.

        Raises:
            DigestMismatch: The bytes are not what was declared; they are in quarantine.
            SizeMismatch: Bytes are still missing.
            StorageError: The file system refuses.
            Interrupted: The task was stopped meanwhile.
        """
        if not self.partial.complete:  # hashing now would read what was never written
            raise SizeMismatch(f"{self.file.path}: {self.partial.missing()} still missing")
        computed = self._hasher.digest()
        if self._git is not None and (found := self._git.hexdigest()) != self.file.checksum.hex:
            raise self._wrong("git blob id", found)
        if self.file.sha256 not in (None, computed):
            raise self._wrong("sha256", computed.hex)
        self._store.adopt(self.partial, computed, expected=self.file.sha256)
        return computed

    def _wrong(self, kind: str, found: str) -> DigestMismatch:
        """Put the bytes aside; return the error that names the file, not the blob."""
        declared = self.file.checksum.hex
        where = self._store.set_aside(self.partial, f"expected {declared}, computed {found}")
        return DigestMismatch(
            f"{self.file.path}: its {kind} is {found} instead of {declared}",
            hint=f"the bytes are kept in {where}",
        )

    def stop(self) -> None:
        """Make a ``publish`` that waits for the hasher give up."""
        self._hasher.stop()

    def end(self, *, note: str = "") -> None:
        """Stop hashing, close the partial, free its lock; what is recorded stays."""
        self._stack.close()
        self._progress.end(self.file.path, note=note)


def _between(gaps: list[Segment], size: int) -> list[Segment]:
    edges = [0, *(edge for gap in gaps for edge in gap), size]
    return list(zip(edges[::2], edges[1::2]))
