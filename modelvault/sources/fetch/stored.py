"""Is it here already? The one answer: which files of a selection the store has.

A declared SHA-256 is looked up. The Hub declares a git blob id for files outside LFS: a blob
of the right size whose bytes hash to that id is the file, so that pulling a model again, or
its next revision, fetches nothing that is already there. That hashing is done once a pull,
when it is planned; the plan carries the answer.
"""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelvault import fsio
from modelvault.core.digest import Digest, git_blob_hasher
from modelvault.sources.fetch.file import GitBlob, OfferedFile
from modelvault.store.blobs import Store

_log = logging.getLogger(__name__)

LARGEST = 64 * 1024 * 1024
"""Bytes; files outside LFS are small, and above this a download is not worth avoiding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """Which files of an offer are to be brought, and what of them the store has."""

    files: tuple[OfferedFile, ...]
    """What was selected; every size is known."""
    stored: Mapping[str, Digest] = field(hash=False)
    """Path → digest of those whose content the store had when this was planned."""

    @property
    def missing(self) -> tuple[OfferedFile, ...]:
        """The files that have to come."""
        return tuple(file for file in self.files if file.path not in self.stored)

    @property
    def size(self) -> int:
        """Bytes of all files.

        Raises:
            SourceError: The size of one is not known.
        """
        return sum(file.known_size for file in self.files)

    @property
    def stored_size(self) -> int:
        """Bytes of the files that the store has."""
        return sum(file.known_size for file in self.files if file.path in self.stored)


def plan_delivery(files: Sequence[OfferedFile], store: Store) -> DeliveryPlan:
    """Return what of some files has to come; the vault need not exist yet.

    Raises:
        StorageError: A blob cannot be read.
    """
    if not store.paths.blobs.is_dir():
        return DeliveryPlan(files=tuple(files), stored={})
    declared = {file.path: stored_digest(file, store) for file in files}
    known = {path: digest for path, digest in declared.items() if digest is not None}
    known |= _find_by_git_id(files, store)
    _log.debug("%d of %d files are in the vault", len(known), len(files))
    return DeliveryPlan(files=tuple(files), stored=known)


def check_again(plan: DeliveryPlan, store: Store) -> DeliveryPlan:
    """Return a plan without what the store has lost since it was made; nothing is hashed.

    Args:
        plan: What was planned, perhaps while ``gc`` was free to run.
        store: The store; the caller keeps ``gc`` away from now on.
    """
    sizes = {file.path: file.size for file in plan.files}
    still = {path: digest for path, digest in plan.stored.items() if store.has(digest, sizes[path])}
    return dataclasses.replace(plan, stored=still)


def stored_digest(file: OfferedFile, store: Store) -> Digest | None:
    """Return the digest of a file whose declared SHA-256 the store has; None for any other.

    Cheap, for asking again and again: another process may bring the same file meanwhile.
    """
    digest = file.sha256
    return digest if digest is not None and store.has(digest, file.size) else None


def same_content(file: OfferedFile, digest: Digest, size: int, store: Store) -> bool:
    """Return whether an offered file has the bytes of one that is known by its digest.

    Without a declared SHA-256 the stored bytes are hashed as git does; where they are not
    there or are too many, the files count as different.

    Args:
        file: What is offered.
        digest: What it is compared with.
        size: Length of that in bytes.
        store: Where its bytes are.
    """
    if file.size not in (None, size):
        return False
    match file.checksum:
        case GitBlob() as git:
            readable = size <= LARGEST and store.has(digest, size)
            return readable and _git_blob(digest, size, store) == git
        case declared:
            return declared == digest


def _find_by_git_id(files: Sequence[OfferedFile], store: Store) -> Mapping[str, Digest]:
    wanted: dict[int, dict[GitBlob, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        if isinstance(file.checksum, GitBlob) and file.known_size <= LARGEST:
            wanted[file.known_size][file.checksum].append(file.path)
    stored: dict[str, Digest] = {}
    for blob in store.blobs() if wanted else ():
        if blob.size in wanted:
            found = _git_blob(blob.digest, blob.size, store)
            stored.update(dict.fromkeys(wanted[blob.size].get(found, ()), blob.digest))
    return stored


def _git_blob(digest: Digest, size: int, store: Store) -> GitBlob:
    """Return git's id of a blob of ``size`` bytes that the store has."""
    hasher = git_blob_hasher(size)
    with store.open_blob(digest) as file, fsio.storage_errors(store.path(digest)):
        while chunk := file.read(fsio.CHUNK):
            hasher.update(chunk)
    return GitBlob(hasher.hexdigest())
