"""Reading ahead: one thread reads, others treat what was read, the caller takes it in order.

Reading, hashing and the codec release the interpreter's lock, so the caller's writing
overlaps with all of them. Memory is a small ring of buffers, whatever passes through.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

Job = TypeVar("Job")
First = TypeVar("First")
Second = TypeVar("Second")

BUFFERS = 3
"""One is read into, one is treated, one is the caller's."""


def read_ahead(
    jobs: Iterable[Job],
    *,
    buffer_size: int,
    read: Callable[[Job, memoryview], memoryview],
    first: Callable[[Job, memoryview], First],
    second: Callable[[Job, memoryview], Second],
) -> Generator[tuple[Job, memoryview, First, Second], None, None]:
    """Yield each job with the bytes read for it and the results of both treatments.

    Reads happen one after another, in the order of the jobs, and so do the calls of each
    treatment; the two run beside each other. What is yielded is valid until the next step.
    Close the generator when it is not run to its end (``contextlib.closing``).

    Args:
        jobs: What to do; taken as buffers become free.
        buffer_size: Bytes of the largest job.
        read: Fills the buffer it is given, and returns the filled part.
        first: Treats the bytes.
        second: Treats the same bytes.

    Raises:
        ModelVaultError: Whatever a callable raises, at the job that raised it.
    """
    waiting = iter(jobs)
    running: deque[tuple[Job, memoryview, Future[memoryview], Future[First], Future[Second]]]
    running = deque()
    with ExitStack() as stack:
        lanes = [ThreadPoolExecutor(max_workers=1) for _ in range(3)]
        for lane in lanes:
            stack.callback(lane.shutdown, wait=True, cancel_futures=True)

        def start(job: Job, buffer: memoryview) -> None:
            data = lanes[0].submit(read, job, buffer)
            running.append(
                (
                    job,
                    buffer,
                    data,
                    lanes[1].submit(_after, data, first, job),
                    lanes[2].submit(_after, data, second, job),
                )
            )

        for _ in range(BUFFERS):
            for job in waiting:
                start(job, memoryview(bytearray(buffer_size)))
                break
        while running:
            job, buffer, data, one, two = running.popleft()
            yield job, data.result(), one.result(), two.result()
            for following in waiting:
                start(following, buffer)
                break


def _after(data: Future[memoryview], treat: Callable[[Job, memoryview], First], job: Job) -> First:
    return treat(job, data.result())
