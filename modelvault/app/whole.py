"""One task for many parts: whoever watches sees the whole, how much of it is done, and its end.

Example:
    >>> with whole_task(progress, "verify", total=300) as whole:  # doctest: +SKIP
    ...     with whole.part(100) as part:
    ...         hash_file(path, progress=part)
"""

import contextlib
from collections.abc import Iterator

from modelvault.core.ports import Progress, ProgressEvent


class Whole:
    """A task under way that consists of parts."""

    def __init__(self, progress: Progress, task: str) -> None:
        """Begin with no part; ``whole_task`` announces the task.

        Args:
            progress: Told about the whole.
            task: Its name.
        """
        self._progress = progress
        self._task = task

    @contextlib.contextmanager
    def part(self, size: int) -> Iterator[Progress]:
        """Yield what the part reports to; when the block ends, all of the part counts as done.

        A part that was given up, or told less than it did, leaves no gap in the whole.

        Args:
            size: Bytes that the part has in the total.
        """
        part = _Part(self._progress, self._task)
        try:
            yield part
        finally:
            self._progress.advance(self._task, size - part.told)


@contextlib.contextmanager
def whole_task(progress: Progress, task: str, *, total: int) -> Iterator[Whole]:
    """Announce a task for the block, and yield it.

    Args:
        progress: Told about it.
        task: Its name.
        total: Bytes of all parts together.
    """
    progress.begin(task, total=total)
    try:
        yield Whole(progress, task)
    finally:
        progress.end(task)


class _Part:
    """Implements ``Progress``: whatever a part reports counts towards the whole."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._progress = progress
        self._task = task
        self.told = 0
        """Bytes that were reported."""

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Announce nothing: the whole is under way."""

    def advance(
        self,
        task: str,  # noqa: ARG002 - as the part calls it
        amount: int,
        *,
        event: ProgressEvent | None = None,
    ) -> None:
        """Count towards the whole."""
        self.told += amount
        self._progress.advance(self._task, amount, event=event)

    def end(self, task: str, *, note: str = "") -> None:
        """Announce nothing: the whole goes on."""
