"""Copy one file of the user's into the store: resumable, hashed on the way, and honest.

A copy goes into a partial whose key names this version of the file (place, size, times,
inode), so that an interrupted copy goes on where it stopped and a changed file starts
anew. The version is compared again at the end. Small files are read whole and kept together
with others (``store.batch``): twenty thousand of them cost two flushes of the disk, not four each.
"""

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO

from modelvault import fsio
from modelvault.core.digest import Digest, Hasher, git_blob_hasher
from modelvault.core.ports import Progress
from modelvault.errors import DigestMismatch, UpstreamChanged
from modelvault.sources.fetch.file import GitBlob, OfferedFile
from modelvault.store.batch import BlobBatch
from modelvault.store.blobs import Store
from modelvault.store.hashing import FollowingHasher
from modelvault.store.partials import Partial

RECORD_EVERY = 64 * 1024 * 1024
"""Bytes between two records in the partial's journal; what a kill costs at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What tells one state of a file from another without reading it."""

    path: str
    size: int
    """Length in bytes."""
    modified: int
    """Nanoseconds since the epoch."""
    changed: int
    """Nanoseconds since the epoch; unlike ``modified`` nobody can set it back."""
    inode: int
    device: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> "Version":
        """Return the version that a file's status shows."""
        return cls(
            path=path,
            size=status.st_size,
            modified=status.st_mtime_ns,
            changed=status.st_ctime_ns,
            inode=status.st_ino,
            device=status.st_dev,
        )

    @property
    def key(self) -> str:
        """Key of the partial into which this version is copied."""
        return f"folder-{hashlib.sha256(repr(self).encode('utf-8', 'replace')).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFile(OfferedFile):
    """A file as it stood when its folder was walked."""

    size: int
    """Length in bytes."""
    version: Version
    """Where its bytes are, every link followed, and how they stood."""


def bring_in(
    file: FolderFile,
    reader: BinaryIO,
    store: Store,
    progress: Progress,
    *,
    compare: bool,
) -> Digest:
    """Return the digest of a file whose bytes are then in the store.

    Args:
        file: What was offered.
        reader: The file, open and unbuffered.
        store: Where to.
        progress: Told about bytes, under the file's path.
        compare: Whether the store holds a blob of this size, so that hashing before
            copying may save the copy.

    Raises:
        UpstreamChanged: The file is, or becomes while it is read, another version.
        DigestMismatch: The bytes are not what the offer declares.
        StorageError: The disk is full or refuses.
    """
    version = file.version
    _check_version(version, reader)
    if compare:
        digest = _hash(version, reader, progress)
        if store.has(digest, file.size):
            _check_version(version, reader)
            return digest
    with store.open_partial(version.key, file.size) as partial:
        git = git_blob_hasher(file.size)
        progress.begin(file.path, total=file.size, done=partial.present.total)
        try:
            digest = _copy(file.path, reader, partial, progress, also=git)
            _check_version(version, reader)
            _check_declared(file, digest, git)
        except (UpstreamChanged, DigestMismatch):
            partial.discard()
            raise
        if store.has(digest, file.size):
            partial.discard()
        else:
            store.adopt(partial, digest)
        progress.end(file.path)
    return digest


def bring_in_small(
    file: FolderFile, reader: BinaryIO, store: Store, batch: BlobBatch, progress: Progress
) -> Digest:
    """Return the digest of a small file whose bytes are then in the store, or in the batch.

    Args:
        file: What was offered.
        reader: The file, open and unbuffered.
        store: Where to.
        batch: Of that store; takes the bytes unless the store has them.
        progress: Told about bytes, under the file's path.

    Raises:
        UpstreamChanged: The file is, or becomes while it is read, another version.
        DigestMismatch: The bytes are not what the offer declares.
        StorageError: The disk is full or refuses.
    """
    progress.begin(file.path, total=file.size)
    _check_version(file.version, reader)
    data = _read(file, reader)
    _check_version(file.version, reader)
    digest = Digest.of(data)
    git = git_blob_hasher(file.size)
    if isinstance(file.checksum, GitBlob):
        git.update(data)
    _check_declared(file, digest, git)
    if not store.has(digest, file.size):
        batch.put(data, digest)
    progress.advance(file.path, file.size)
    progress.end(file.path)
    return digest


def _read(file: FolderFile, reader: BinaryIO) -> bytes:
    data = b""
    with fsio.storage_errors(file.version.path):
        while len(data) < file.size:
            part = reader.read(file.size - len(data))
            if not part:
                raise UpstreamChanged(f"{file.path}: became shorter while it was copied")
            data += part
    return data


def _hash(version: Version, reader: BinaryIO, progress: Progress) -> Digest:
    task = f"compare {version.path}"
    progress.begin(task, total=version.size)
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(fsio.CHUNK))
    with fsio.storage_errors(version.path):
        reader.seek(0)
        while count := reader.readinto(buffer):  # type: ignore[attr-defined]
            hasher.update(buffer[:count])
            progress.advance(task, count)
    progress.end(task)
    return Digest(hasher.hexdigest())


def _copy(
    task: str, reader: BinaryIO, partial: Partial, progress: Progress, *, also: Hasher
) -> Digest:
    buffer = memoryview(bytearray(fsio.CHUNK))
    with FollowingHasher(partial, also=(also,)) as hasher:
        hasher.follow(partial.present.prefix)
        for start, stop in _steps(partial):
            position = start
            while position < stop:
                with fsio.storage_errors(partial.path):
                    count = os.preadv(reader.fileno(), [buffer[: stop - position]], position)
                if count == 0:
                    raise UpstreamChanged(f"{task}: became shorter while it was copied")
                partial.write(position, buffer[:count])
                progress.advance(task, count)
                position += count
            partial.record(start, stop)
            hasher.follow(partial.present.prefix)
        return hasher.digest()


def _steps(partial: Partial) -> list[tuple[int, int]]:
    """Return what is missing, in pieces of at most ``RECORD_EVERY`` bytes."""
    return [
        (step, min(end, step + RECORD_EVERY))
        for start, end in partial.missing()
        for step in range(start, end, RECORD_EVERY)
    ]


def _check_version(version: Version, reader: BinaryIO) -> None:
    with fsio.storage_errors(version.path):
        now = Version.of(version.path, os.fstat(reader.fileno()))
    if now != version:
        raise UpstreamChanged(
            f"{version.path}: changed while it was read",
            hint="let whatever writes to it finish, then run this again",
        )


def _check_declared(file: FolderFile, digest: Digest, git: Hasher) -> None:
    match file.checksum:
        case GitBlob() as declared:
            right = git.hexdigest() == declared.hex
        case declared:
            right = declared in (None, digest)
    if not right:
        raise DigestMismatch(
            f"{file.version.path}: its bytes are not what its name in the cache says",
            hint="the cache is damaged: remove this file from it and download it again",
        )
