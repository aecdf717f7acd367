"""Find files that the store has although their sha256 is not known.

The Hub declares a git blob id for files outside LFS. A blob of the right size whose bytes
hash to that id is the file: pulling a model again, or its next revision, fetches nothing
that is already there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from modelvault import fsio
from modelvault.core.digest import Digest, git_blob_hasher
from modelvault.sources.source import OfferedFile
from modelvault.store.blobs import Store

LARGEST = 64 * 1024 * 1024
"""Bytes; files outside LFS are small, and above this a download is not worth avoiding."""


def find_stored(files: Sequence[OfferedFile], store: Store) -> Mapping[str, Digest]:
    """Return path → digest of the files that are stored, among those without ``sha256``.

    Raises:
        StorageError: A blob cannot be read.
    """
    wanted: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        if file.sha256 is None and file.git_sha1 is not None and file.size <= LARGEST:
            wanted[file.size][file.git_sha1].append(file.path)
    stored: dict[str, Digest] = {}
    if not wanted:
        return stored
    for blob in store.blobs():
        if blob.size in wanted:
            found = git_blob_id(blob.digest, blob.size, store)
            stored.update(dict.fromkeys(wanted[blob.size].get(found, ()), blob.digest))
    return stored


def git_blob_id(digest: Digest, size: int, store: Store) -> str:
    """Return git's id of a blob of ``size`` bytes that the store holds."""
    hasher = git_blob_hasher(size)
    with store.open_blob(digest) as file, fsio.storage_errors(store.path(digest)):
        while chunk := file.read(fsio.CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()
