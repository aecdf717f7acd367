"""The store of blobs: read-only files named by the sha256 of their bytes.

Invariants:
    * A file under ``blobs/`` is complete and hashed to its name before it got there.
    * Writers hold the store's lock shared, ``gc`` holds it alone; a blob that is published
      but not yet catalogued is therefore never collected.
    * Nothing here knows models, only bytes.
    * Bytes arrive on the disk that ``blobs/`` is on, so that a blob gets its name by a rename.
    * What others put among the blobs is neither a blob nor garbage.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.errors import (
    BlobMissing,
    DigestMismatch,
    NotFound,
    SizeMismatch,
)
from modelvault.store.batch import BlobBatch
from modelvault.store.hashing import hash_file
from modelvault.store.leftovers import find_leftovers
from modelvault.store.partials import Partial, open_partial
from modelvault.store.paths import READ_ONLY, VaultPaths
from modelvault.store.places import beside_blobs, check_vault, file_size, find_blobs


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobFile:
    """One blob as it stands on disk."""

    digest: Digest
    size: int
    """Length in bytes."""


class Store:
    """Blobs of one vault."""

    def __init__(self, paths: VaultPaths) -> None:
        """Use the folder of an existing vault; ``Store.open`` checks that there is one.

        Args:
            paths: Where things stand in the vault's folder.
        """
        self.paths = paths

    @classmethod
    def create(cls, root: Path) -> "Store":
        """Return the store in ``root``, making its folders where they are missing."""
        paths = VaultPaths(root)
        for folder in (paths.blobs, paths.partials, paths.quarantine):
            fsio.make_folder(folder)
        return cls(paths)

    @classmethod
    def open(cls, root: Path) -> "Store":
        """Return the store in ``root``.

        Raises:
            VaultNotFound: There is none.
        """
        paths = VaultPaths(root)
        check_vault(paths)
        return cls(paths)

    @contextlib.contextmanager
    def writing(self, *, wait: float = 5.0) -> Iterator[None]:
        """Keep ``gc`` away for the block; any number of writers may work at once."""
        with fsio.lock(self.paths.lock, shared=True, wait=wait):
            yield

    @contextlib.contextmanager
    def reading(self, *, wait: float = 5.0) -> Iterator[None]:
        """Keep ``gc`` away for a block that writes nothing, also where nothing can be written."""
        with fsio.lock(self.paths.lock, shared=True, wait=wait, reading=True):
            yield

    @contextlib.contextmanager
    def alone(self, *, wait: float = 5.0, reading: bool = False) -> Iterator[None]:
        """Keep every other writer away for the block.

        Args:
            wait: Seconds to wait for them.
            reading: The block writes nothing, and works also where nothing can be written.

        Raises:
            VaultBusy: Another process is writing.
        """
        with fsio.lock(self.paths.lock, wait=wait, reading=reading):
            yield

    @cached_property
    def partials(self) -> Path:
        """Folder of bytes on their way in: on the disk that the blobs are on.

        Raises:
            StorageError: The file system refuses.
        """
        return beside_blobs(self.paths, self.paths.partials)

    @cached_property
    def quarantine(self) -> Path:
        """Folder of bytes that failed a check: on the disk that the blobs are on.

        Raises:
            StorageError: The file system refuses.
        """
        return beside_blobs(self.paths, self.paths.quarantine)

    def require_space(self, incoming: Iterable[tuple[str | None, int]]) -> None:
        """Check that what is to come fits on the disk, less what its partials have reserved.

        Args:
            incoming: Key of its partial, None for none, and size in bytes, for each content.

        Raises:
            NoSpace: It does not; the message says how many bytes are missing.
            StorageError: The file system refuses.
        """
        needed = sum(max(0, size - self.reserved(key)) if key else size for key, size in incoming)
        fsio.require_space(self.paths.blobs, needed)

    def reserved(self, key: str) -> int:
        """Return the bytes that a partial takes on the disk, whatever of it has arrived.

        Raises:
            StorageError: The file system refuses.
        """
        try:
            with fsio.storage_errors(self.partials / key):
                return (self.partials / key).stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def path(self, digest: Digest) -> Path:
        """Return where the blob stands.

        Raises:
            BlobMissing: The store lacks it.
        """
        path = self.paths.blob(digest)
        if file_size(path) is None:
            raise BlobMissing(
                f"the store lacks blob {digest}",
                hint="pull or import the model again: only what is missing is fetched",
            )
        return path

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether the blob is there, with this size where one is given."""
        found = file_size(self.paths.blob_name(digest))
        return found is not None and size in (None, found)

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Return the blob, open for reading."""
        path = self.path(digest)
        with fsio.every_error(path):
            return open(path, "rb")

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Return a small blob's bytes, checked against its digest.

        Raises:
            BlobMissing: The store lacks it.
            SizeMismatch: It is longer than ``limit`` bytes.
            DigestMismatch: The bytes have changed on disk.
        """
        with self.open_blob(digest) as file, fsio.every_error(self.paths.blob(digest)):
            data = file.read(limit + 1)
        if len(data) > limit:
            raise SizeMismatch(f"blob {digest} is longer than {limit} bytes")
        if Digest.of(data) != digest:
            raise DigestMismatch(f"blob {digest} has changed on disk")
        return data

    def put(self, data: bytes) -> Digest:
        """Keep a small byte string; return its digest."""
        digest = Digest.of(data)
        if not self.has(digest, len(data)):
            target = self.paths.blob(digest)
            fsio.make_folder(target.parent)
            fsio.write_durably(target, data, mode=READ_ONLY)
        return digest

    def batch(self) -> BlobBatch:
        """Return a batch of small blobs; use it in a ``with`` block.

        Raises:
            StorageError: The file system refuses.
        """
        return BlobBatch(self.paths)

    @contextlib.contextmanager
    def open_partial(self, key: str, size: int, *, wait: float = 0.0) -> Iterator[Partial]:
        """Yield the partial ``key`` of ``size`` bytes, locked.

        Raises:
            VaultBusy: Another process is filling it.
            NoSpace: Its length does not fit on the disk.
        """
        with open_partial(self.partials, key, size, wait=wait) as partial:
            yield partial

    def adopt(self, partial: Partial, computed: Digest, *, expected: Digest | None = None) -> None:
        """Publish a complete partial as a blob, or quarantine it.

        Args:
            partial: Open and complete.
            computed: Digest of its bytes on disk.
            expected: What the bytes should be; a mismatch puts them in quarantine.

        Raises:
            SizeMismatch: Bytes are missing.
            DigestMismatch: ``computed`` is not ``expected``.
        """
        if not partial.complete:
            raise SizeMismatch(f"{partial.path.name}: {partial.missing()} still missing")
        if expected is not None and computed != expected:
            where = self.set_aside(partial, f"expected {expected}, computed {computed}")
            raise DigestMismatch(
                f"{partial.path.name}: the bytes hash to {computed}",
                hint=f"they are kept in {where}",
            )
        self._publish(partial.path, computed)
        partial.discard()

    def _publish(self, path: Path, digest: Digest) -> None:
        target = self.paths.blob(digest)
        fsio.make_folder(target.parent)
        with fsio.every_error(path):
            fsio.publish(path, target, mode=READ_ONLY, expected=digest)

    def set_aside(self, partial: Partial, reason: str) -> Path:
        """Move a partial's bytes to quarantine with a note; return where they are now."""
        target = self._to_quarantine(partial.path, reason)
        partial.discard()
        return target

    def condemn(self, digest: Digest, reason: str) -> Path:
        """Move a damaged blob to quarantine with a note; return where it is now."""
        return self._to_quarantine(self.path(digest), reason)

    def _to_quarantine(self, path: Path, reason: str) -> Path:
        name = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.urandom(3).hex()}-{path.name}"
        target = fsio.make_folder(self.quarantine) / name
        fsio.write_durably(target.with_name(f"{name}.txt"), reason.encode() + b"\n")
        with fsio.every_error(path):
            fsio.publish(path, target, mode=0o400)
        return target

    def take(self, path: Path, *, progress: Progress | None = None) -> BlobFile:
        """Move a finished file of our own into the store; return its digest and size.

        Args:
            path: A file on the vault's file system that no process writes to any more.
            progress: Told about hashed bytes, under the file's name.
        """
        digest, size = hash_file(path, progress=progress)
        blob = BlobFile(digest=digest, size=size)
        self.take_hashed(path, blob)
        return blob

    def take_hashed(self, path: Path, blob: BlobFile) -> None:
        """Move a finished file of our own, whose digest and size are known, into the store."""
        if self.has(blob.digest, blob.size):
            with fsio.every_error(path):
                path.unlink()
        else:
            self._publish(path, blob.digest)

    def check(self, digest: Digest, size: int, *, progress: Progress | None = None) -> None:
        """Re-hash one blob.

        Raises:
            BlobMissing: The store lacks it.
            SizeMismatch: Its length is not ``size``.
            DigestMismatch: Its bytes have changed on disk.
        """
        path = self.path(digest)
        found = file_size(path)
        if found != size:
            raise SizeMismatch(f"blob {digest} has {found} bytes instead of {size}")
        computed, _ = hash_file(path, progress=progress)
        if computed != digest:
            raise DigestMismatch(f"blob {digest} hashes to {computed}: the disk has changed it")

    def blobs(self) -> Iterator[BlobFile]:
        """Yield every published blob, sorted by digest.

        Raises:
            StorageError: The file system refuses.
        """
        for digest, path in find_blobs(self.paths):
            size = file_size(path)
            if size is not None:
                yield BlobFile(digest=digest, size=size)

    def remove(self, digest: Digest) -> None:
        """Remove one blob; the caller works alone in the store.

        Raises:
            NotFound: The store lacks it.
        """
        path = self.paths.blob(digest)
        with fsio.storage_errors(path):
            try:
                path.unlink()
            except FileNotFoundError as error:
                raise NotFound(f"the store lacks blob {digest}") from error

    def leftovers(
        self, *, partials: bool, referenced: AbstractSet[Digest] = frozenset()
    ) -> Iterator[Path]:
        """Yield what crashes left behind; the caller works alone in the store.

        Temporary files, journals and locks whose partial is gone, partials whose content has
        been published, and working folders of converters unless the conversion can go on.

        Args:
            partials: Also yield what could be finished: all partials and all such folders.
            referenced: Digests in the catalogue: a conversion goes on while its parent is one.
        """
        places = frozenset((self.paths.partials, self.partials))
        return find_leftovers(self.paths, places, partials=partials, referenced=referenced)

    def clear(self, leftovers: Iterable[Path]) -> None:
        """Remove files and folders that ``leftovers`` named."""
        for path in leftovers:
            with fsio.every_error(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
