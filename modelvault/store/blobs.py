"""The store of blobs: read-only files named by the sha256 of their bytes.

Invariants:
    * A file under ``blobs/`` is complete and hashed to its name before it got there.
    * Writers hold the store's lock shared, ``gc`` holds it alone; a blob that is published
      but not yet catalogued is therefore never collected.
    * Nothing here knows models, only bytes.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Silence
from modelvault.core.protocol import RESUME
from modelvault.errors import (
    BlobMissing,
    DigestMismatch,
    NotFound,
    SizeMismatch,
    VaultNotFound,
)
from modelvault.store.batch import BlobBatch
from modelvault.store.partials import Partial, open_partial
from modelvault.store.paths import READ_ONLY, VaultPaths, parent_of_conversion


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
        if not paths.blobs.is_dir():
            raise VaultNotFound(
                f"{root}: no vault here",
                hint="the first pull or import makes one; or name another with --vault",
            )
        return cls(paths)

    @contextlib.contextmanager
    def writing(self, *, wait: float = 5.0) -> Iterator[None]:
        """Keep ``gc`` away for the block; any number of writers may work at once."""
        with fsio.lock(self.paths.lock, shared=True, wait=wait):
            yield

    @contextlib.contextmanager
    def alone(self, *, wait: float = 5.0) -> Iterator[None]:
        """Keep every other writer away for the block.

        Raises:
            VaultBusy: Another process is writing.
        """
        with fsio.lock(self.paths.lock, wait=wait):
            yield

    def path(self, digest: Digest) -> Path:
        """Return where the blob stands.

        Raises:
            BlobMissing: The store lacks it.
        """
        path = self.paths.blob(digest)
        if not path.is_file():
            raise BlobMissing(
                f"the store lacks blob {digest}",
                hint="pull or import the model again: only what is missing is fetched",
            )
        return path

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether the blob is there, with this size where one is given."""
        try:
            found = self.paths.blob(digest).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Return the blob, open for reading."""
        path = self.path(digest)
        with fsio.storage_errors(path):
            return open(path, "rb")

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Return a small blob's bytes, checked against its digest.

        Raises:
            BlobMissing: The store lacks it.
            SizeMismatch: It is longer than ``limit`` bytes.
            DigestMismatch: The bytes have changed on disk.
        """
        with self.open_blob(digest) as file:
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
        with open_partial(self.paths.partials, key, size, wait=wait) as partial:
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
        target = self.paths.blob(computed)
        fsio.make_folder(target.parent)
        fsio.publish(partial.path, target, mode=READ_ONLY)
        partial.discard()

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
        target = self.paths.quarantine / name
        fsio.write_durably(target.with_name(f"{name}.txt"), reason.encode() + b"\n")
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
        target = self.paths.blob(blob.digest)
        if self.has(blob.digest, blob.size):
            path.unlink()
        else:
            fsio.make_folder(target.parent)
            fsio.publish(path, target, mode=READ_ONLY)

    def check(self, digest: Digest, size: int, *, progress: Progress | None = None) -> None:
        """Re-hash one blob.

        Raises:
            BlobMissing: The store lacks it.
            SizeMismatch: Its length is not ``size``.
            DigestMismatch: Its bytes have changed on disk.
        """
        path = self.path(digest)
        found = path.stat().st_size
        if found != size:
            raise SizeMismatch(f"blob {digest} has {found} bytes instead of {size}")
        computed, _ = hash_file(path, progress=progress)
        if computed != digest:
            raise DigestMismatch(f"blob {digest} hashes to {computed}: the disk has changed it")

    def blobs(self) -> Iterator[BlobFile]:
        """Yield every published blob, sorted by digest."""
        for folder in sorted(self.paths.blobs.iterdir()):
            for path in sorted(folder.iterdir()):
                if not path.name.startswith(fsio.TEMPORARY_PREFIX):
                    yield BlobFile(digest=Digest(path.name), size=path.stat().st_size)

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
        for folder in self.paths.blobs.iterdir():
            yield from folder.glob(f"{fsio.TEMPORARY_PREFIX}*")
        for path in sorted(self.paths.partials.iterdir()):
            key = path.name.removesuffix(".journal").removesuffix(".lock")
            if partials or path.name.startswith(".") or self._abandoned(key, referenced):
                yield path

    def _abandoned(self, key: str, referenced: AbstractSet[Digest]) -> bool:
        """Return whether a partial or a working folder is of no further use."""
        path = self.paths.partials / key
        parent = parent_of_conversion(key)
        if parent is not None:
            return parent not in referenced or not fsio.is_regular(path / RESUME)
        kind, _, hex_digits = key.partition("-")
        if kind == "sha256" and self.has(Digest(hex_digits)):
            return True
        return not path.is_file()

    def clear(self, leftovers: Iterable[Path]) -> None:
        """Remove files and folders that ``leftovers`` named."""
        for path in leftovers:
            with fsio.storage_errors(path):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)


def hash_file(path: Path, *, progress: Progress | None = None) -> tuple[Digest, int]:
    """Return the digest and size in bytes of a file."""
    progress = progress or Silence()
    hasher = hashlib.sha256()
    size = 0
    buffer = memoryview(bytearray(fsio.CHUNK))
    with fsio.storage_errors(path), open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
            size += count
            progress.advance(path.name, count)
    return Digest(hasher.hexdigest()), size
