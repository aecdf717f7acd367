"""Hash files: one that is still being written, one step behind the writer; or a whole one.

The hasher's thread follows the contiguous prefix of a partial, so that the last byte's
arrival and the digest are moments apart. It reads back from the page cache, which makes
a resumed partial the same case as a fresh one: its prefix is simply already long. What
it has hashed leaves the page cache as soon as it is durable.
"""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from modelvault import fsio
from modelvault.core.digest import Digest, Hasher
from modelvault.core.ports import Progress, Silence
from modelvault.errors import Interrupted, StorageError
from modelvault.store.partials import Partial

_STEP = 1024 * 1024
"""Bytes hashed at once: they stay in the processor's cache between reading and hashing."""


class FollowingHasher:
    """A thread that hashes a partial's prefix as it grows; use it in a ``with`` block."""

    def __init__(self, partial: Partial, *, also: Sequence[Hasher] = ()) -> None:
        """Start following.

        Args:
            partial: What to hash; bytes already present are hashed first.
            also: Further hashers to feed with the same bytes.
        """
        self._partial = partial
        self._sha256 = hashlib.sha256()
        self._hashers: tuple[Hasher, ...] = (self._sha256, *also)
        self._position = 0
        self._limit = 0
        self._stopped = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="hasher", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread, whether it has finished or not."""
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Make the thread end soon; a ``digest`` that is waited for is refused then."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def follow(self, prefix: int) -> None:
        """Announce that the first ``prefix`` bytes have been written."""
        with self._changed:
            if prefix > self._limit:
                self._limit = prefix
                self._changed.notify()

    def digest(self) -> Digest:
        """Return the digest of the whole partial; waits until all of it is hashed.

        Raises:
            StorageError: The bytes could not be read back.
            Interrupted: The hasher was stopped before the last byte.
        """
        self.follow(self._partial.size)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if self._position != self._partial.size:
            raise Interrupted(f"{self._partial.path.name}: hashing was stopped")
        return Digest(self._sha256.hexdigest())

    def _run(self) -> None:
        try:
            self._hash()
        except BaseException as error:  # handed to the thread that asks for the digest
            self._failure = error

    def _hash(self) -> None:
        buffer = memoryview(bytearray(min(_STEP, max(self._partial.size, 1))))
        while self._position < self._partial.size:
            with self._changed:
                while not self._stopped and self._limit <= self._position:
                    self._changed.wait()
                limit = self._limit
            if self._stopped:
                return
            while self._position < limit and not self._stopped:
                self._hash_step(buffer[: limit - self._position])

    def _hash_step(self, buffer: memoryview) -> None:
        count = self._partial.read(self._position, buffer)
        if count == 0:
            raise StorageError(f"{self._partial.path}: shorter than declared")
        for hasher in self._hashers:
            hasher.update(buffer[:count])
        self._position += count
        self._partial.release(self._position)


def hash_file(path: Path, *, progress: Progress | None = None) -> tuple[Digest, int]:
    """Return the digest and size in bytes of a file."""
    progress = progress or Silence()
    hasher = hashlib.sha256()
    size = 0
    buffer = memoryview(bytearray(fsio.CHUNK))
    with fsio.every_error(path), open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
            size += count
            progress.advance(path.name, count)
    return Digest(hasher.hexdigest()), size
