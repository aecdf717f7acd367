"""Working ahead: threads read and treat jobs, the caller takes the results in order.

Reading, hashing and the codecs release the interpreter's lock, so that they overlap with
each other and with the caller's writing. Each thread takes a job through all of its steps, so
that none waits for the slowest step, and all cores are at work. Memory is a small ring of
buffers, whatever passes through.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Job = TypeVar("Job")
Data = TypeVar("Data")
Result = TypeVar("Result")

_FEWEST = 2
"""Threads at least: one reads while another treats."""
_MOST = 4
"""… and at most: each has a buffer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment(Generic[Job, Data, Result]):
    """What happens to each job."""

    read: Callable[[Job, memoryview], Data]
    """Fills the buffer it is given, and returns the filled part or parts; one job after another,
    in order."""
    treat: Callable[[Job, Data], Result]
    """Makes the result of what was read; several jobs at a time."""
    look: Callable[[Job, Data], None] | None = None
    """Looks at what was read before it is treated, and may refuse it; one job after another,
    in order."""


def work_ahead(
    jobs: Iterable[Job], treatment: Treatment[Job, Data, Result], *, buffer_size: int
) -> Generator[tuple[Job, Result], None, None]:
    """Yield each job with the result of its treatment, in the order of the jobs.

    What is yielded is valid until the next step. Close the generator when it is not run to
    its end (``contextlib.closing``).

    Args:
        jobs: What to do; taken as buffers become free.
        treatment: What to do with each.
        buffer_size: Bytes of the largest job.

    Raises:
        ModelVaultError: Whatever a step raises, at the job that raised it.
    """
    threads = max(_FEWEST, min(os.cpu_count() or 1, _MOST))
    waiting = enumerate(jobs)
    running: deque[tuple[Job, memoryview, Future[Result]]] = deque()
    line = _Line(treatment)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="bundle")
    try:
        for _ in range(threads + 1):  # one more is the caller's
            for number, job in waiting:
                buffer = memoryview(bytearray(buffer_size))
                running.append((job, buffer, pool.submit(line.carry_out, number, job, buffer)))
                break
        while running:
            job, buffer, result = running.popleft()
            yield job, result.result()
            for number, following in waiting:
                result = pool.submit(line.carry_out, number, following, buffer)
                running.append((following, buffer, result))
                break
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Line(Generic[Job, Data, Result]):
    """Carries jobs out; what has an order is done one job after another."""

    def __init__(self, treatment: Treatment[Job, Data, Result]) -> None:
        self._treatment = treatment
        self._reading = _Turns()
        self._looking = _Turns()

    def carry_out(self, number: int, job: Job, buffer: memoryview) -> Result:
        """Return the result of a job; threads take up jobs in the order of their numbers."""
        try:
            with self._reading.turn(number):
                data = self._treatment.read(job, buffer)
        except BaseException:
            with self._looking.turn(number):
                raise
        with self._looking.turn(number):
            if self._treatment.look is not None:
                self._treatment.look(job, data)
        return self._treatment.treat(job, data)


class _Turns:
    """Lets those who come with numbers pass one after another."""

    def __init__(self) -> None:
        self._next = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait until all lower numbers have passed; pass when the block ends, however it does."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == number)
        try:
            yield
        finally:
            with self._changed:
                self._next += 1
                self._changed.notify_all()
