"""One file on its way into the store over HTTP: which segments are left, who is at it."""

from collections import deque

from modelvault.core.ports import Progress
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.location import Location
from modelvault.sources.fetch.incoming import IncomingFile, Segment
from modelvault.store.blobs import Store

__all__ = ["Segment", "SegmentedFile"]


class SegmentedFile(IncomingFile):
    """A file that several workers fetch in segments."""

    def __init__(
        self,
        file: RemoteFile,
        location: Location,
        store: Store,
        progress: Progress,
        *,
        segment: int,
    ) -> None:
        """Open the partial, and cut what it lacks into segments.

        Args:
            file: What is fetched.
            location: Where its bytes are.
            store: Where it goes.
            progress: Told about bytes, under the file's path.
            segment: Longest range that one request asks for, in bytes.

        Raises:
            VaultBusy: Another process is fetching it.
            NoSpace: Its length does not fit on the disk.
        """
        super().__init__(file, store, progress)
        self.location = location
        self.segments: deque[Segment] = deque(_cut(self.gaps(), segment))
        """Ranges that no worker has taken yet; guarded by the lock of the workers."""
        self.whole = False
        """Whether the file has to come as one stream; guarded by the lock of the workers."""
        self.active = 0
        """Workers at it; guarded by the lock of the workers."""
        self.failed = False
        """Whether it was given up; guarded by the lock of the workers."""

    def missing_from(self, segment: Segment) -> int:
        """Return the first byte of a range that has not arrived; its end when all have."""
        start, end = segment
        for first, last in self.gaps():
            if last > start:
                return min(max(first, start), end)
        return end


def _cut(gaps: list[Segment], longest: int) -> list[Segment]:
    return [
        (start, min(start + longest, last))
        for first, last in gaps
        for start in range(first, last, longest)
    ]
