"""Reading ahead: one thread reads, others treat what was read, the caller takes it in order.

Reading, hashing and the codec release the interpreter's lock, so the caller's writing
overlaps with all of them. Memory is a small ring of buffers, whatever passes through.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

Job = TypeVar("Job")
Data = TypeVar("Data")
First = TypeVar("First")
Result = TypeVar("Result")

BUFFERS = 4
"""One is read into, two are treated, one is the caller's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment(Generic[Job, Data, First, Result]):
    """What happens to each job; every step has a thread of its own, and keeps the order."""

    read: Callable[[Job, memoryview], Data]
    """Fills the buffer it is given, and returns the filled part or parts."""
    first: Callable[[Job, Data], First]
    """Treats what was read."""
    then: Callable[[Job, Data, First], Result]
    """Goes on with what ``first`` made of it."""
    beside: Callable[[Job, Data], None] | None = None
    """Looks at what was read while ``first`` and ``then`` treat it; may refuse it."""


def read_ahead(
    jobs: Iterable[Job], treatment: Treatment[Job, Data, First, Result], *, buffer_size: int
) -> Generator[tuple[Job, Result], None, None]:
    """Yield each job with the result of its treatment.

    Each step is done to one job after another, in the order of the jobs; the steps of several jobs
    run beside each other. What is yielded is valid until the next step.
    Close the generator when it is not run to its end (``contextlib.closing``).

    Args:
        jobs: What to do; taken as buffers become free.
        treatment: What to do with each.
        buffer_size: Bytes of the largest job.

    Raises:
        ModelVaultError: Whatever a step raises, at the job that raised it.
    """
    waiting = iter(jobs)
    running: deque[tuple[Job, memoryview, Future[Result], Future[None]]] = deque()
    with ExitStack() as stack:
        reading, first, then, beside = (_lane(stack) for _ in range(4))

        def start(job: Job, buffer: memoryview) -> None:
            data = reading.submit(treatment.read, job, buffer)
            begun = first.submit(lambda: treatment.first(job, data.result()))
            done = then.submit(lambda: treatment.then(job, data.result(), begun.result()))
            look = treatment.beside
            seen = beside.submit(lambda: look(job, data.result()) if look else None)
            running.append((job, buffer, done, seen))

        for _ in range(BUFFERS):
            for job in waiting:
                start(job, memoryview(bytearray(buffer_size)))
                break
        while running:
            job, buffer, done, seen = running.popleft()
            seen.result()
            yield job, done.result()
            for following in waiting:
                start(following, buffer)
                break


def _lane(stack: ExitStack) -> ThreadPoolExecutor:
    """Return a thread that does one thing after another until the stack is closed."""
    lane = ThreadPoolExecutor(max_workers=1)
    stack.callback(lane.shutdown, wait=True, cancel_futures=True)
    return lane
