"""Small blobs on their way into the store together: one flush for many.

Invariant: as for every blob, bytes are complete, hashed and durable before they have their name;
what ``publish`` has returned for is durable by its name, too.
"""

from types import TracebackType
from typing import Self

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.store.paths import READ_ONLY, VaultPaths

Buffer = bytes | bytearray | memoryview

SMALL = 1024 * 1024
"""Bytes up to which a blob is small: its bytes are held in memory, and it is not resumed."""

_MOST_BYTES = 64 * 1024 * 1024
_MOST_BLOBS = 8192
"""Bytes and blobs that are published at once; what a kill costs at most."""


class BlobBatch:
    """Blobs that are published together; get one from ``Store.batch``."""

    def __init__(self, paths: VaultPaths) -> None:
        """Begin without a blob.

        Args:
            paths: Where things stand in the vault's folder.

        Raises:
            StorageError: The file system refuses.
        """
        self._paths = paths
        self._files = fsio.FileBatch(fsio.make_folder(paths.blobs))
        self._waiting: set[Digest] = set()

    def __enter__(self) -> Self:
        """Return the batch itself."""
        self._files.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish what waits, or clear it away where the block was interrupted."""
        self._files.__exit__(kind, error, trace)

    def has(self, digest: Digest) -> bool:
        """Return whether a blob waits here to be published."""
        return digest in self._waiting

    def put(self, data: Buffer, digest: Digest) -> None:
        """Keep a blob that the store lacks; it is there after the next ``publish``.

        Args:
            data: The bytes.
            digest: Of these bytes, as the caller has computed it.

        Raises:
            StorageError: The file system refuses.
        """
        if digest in self._waiting:
            return
        self._files.write(self._paths.blob_name(digest), data, mode=READ_ONLY)
        self._waiting.add(digest)
        if self._files.size >= _MOST_BYTES or len(self._files) >= _MOST_BLOBS:
            self.publish()

    def publish(self) -> None:
        """Make what waits durable, and give it its names.

        Raises:
            StorageError: The disk refuses.
        """
        self._files.publish()
        self._waiting.clear()
