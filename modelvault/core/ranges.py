"""Sets of byte ranges, for what has arrived and what is still missing."""

from bisect import bisect_left, bisect_right


class RangeSet:
    """Disjoint half-open ranges ``[start, end)``, sorted and merged."""

    def __init__(self) -> None:
        """Start empty."""
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Add a range, merging it with those it touches."""
        if start >= end:
            return
        left = bisect_left(self._ends, start)
        right = bisect_right(self._starts, end)
        if left < right:
            start = min(start, self._starts[left])
            end = max(end, self._ends[right - 1])
        self._starts[left:right] = [start]
        self._ends[left:right] = [end]

    @property
    def total(self) -> int:
        """Number of bytes covered."""
        return sum(self._ends) - sum(self._starts)

    @property
    def prefix(self) -> int:
        """Length of the covered range that starts at zero."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def covers(self, start: int, end: int) -> bool:
        """Return whether every byte of the range is in the set."""
        index = bisect_right(self._starts, start) - 1
        return start >= end or (index >= 0 and self._ends[index] >= end)

    def gaps(self, size: int) -> list[tuple[int, int]]:
        """Return what is not covered of ``[0, size)``, in order."""
        edges = [0, *(edge for pair in zip(self._starts, self._ends) for edge in pair), size]
        pairs = zip(edges[::2], edges[1::2])
        return [(start, end) for start, end in pairs if start < end]
