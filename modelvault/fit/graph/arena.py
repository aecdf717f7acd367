"""A block of memory that tensors come and go in, as ggml hands it out.

The smallest hole that is large enough is taken; where none is, the end grows. What a graph
needs is the furthest that the end ever went, holes included: adding up sizes would give less.

Example:
    >>> arena = Arena()
    >>> first, second = arena.take(100), arena.take(64)
    >>> arena.give_back(first, 100)
    >>> arena.take(128), arena.peak
    (192, 320)

Source: how ``ggml-alloc.c`` of llama.cpp behaves (best fit, blocks of 32 bytes).
"""

ALIGNMENT = 32
"""Bytes; every tensor begins at a multiple."""


class Arena:
    """Memory without an end, of which only offsets exist."""

    def __init__(self) -> None:
        """Begin empty."""
        self._holes: list[tuple[int, int]] = []
        """Offset and size of each free block below the end, by offset."""
        self._end = 0
        self.peak = 0
        """The furthest that was ever taken, in bytes."""

    def take(self, size: int) -> int:
        """Return the offset of ``size`` free bytes."""
        size = aligned(size)
        fitting = [
            (length, -index) for index, (_, length) in enumerate(self._holes) if length >= size
        ]
        if fitting and size:
            index = -min(fitting)[1]  # of equal ones, the last
            offset, length = self._holes[index]
            self._holes[index : index + 1] = (
                [(offset + size, length - size)] if length > size else []
            )
            return offset
        offset = self._end
        self._end += size
        self.peak = max(self.peak, self._end)
        return offset

    def give_back(self, offset: int, size: int) -> None:
        """Free what ``take`` returned, or its end."""
        end = offset + aligned(size)
        before = [hole for hole in self._holes if hole[0] + hole[1] < offset]
        after = [hole for hole in self._holes if hole[0] > end]
        for start, length in self._holes:
            if start + length == offset:
                offset = start
            elif start == end:
                end = start + length
        if end == self._end:
            self._end = offset
            self._holes = before
        elif end > offset:
            self._holes = [*before, (offset, end - offset), *after]


def aligned(size: int) -> int:
    """Return a size as it is taken: a multiple of ``ALIGNMENT``."""
    return size + -size % ALIGNMENT
