"""Working ahead: in order where order matters, side by side where not, and over when it fails."""

import contextlib
import threading
from collections.abc import Iterator

import pytest

from modelvault.bundle.pipeline import Treatment, work_ahead
from modelvault.errors import BundleDamaged

SIZE = 8
PATIENCE = 30.0
"""Seconds after which a test that waits for another thread has failed."""


def number_in(data: memoryview) -> int:
    """Return the number that ``read`` wrote."""
    return int.from_bytes(data, "little")


def read(job: int, buffer: memoryview) -> memoryview:
    """Write the job's number into the buffer."""
    buffer[:] = job.to_bytes(SIZE, "little")
    return buffer


def treat(job: int, data: memoryview) -> int:
    """Return what was read, which nothing may have written over."""
    assert number_in(data) == job
    return number_in(data) ** 2


def run(treatment: Treatment[int, memoryview, int], jobs: range = range(40)) -> list[int]:
    """Return all results."""
    with contextlib.closing(work_ahead(jobs, treatment, buffer_size=SIZE)) as steps:
        found: list[int] = []
        for job, result in steps:
            assert job == len(found)
            found.append(result)
    return found


def test_results_come_in_the_order_of_jobs() -> None:
    """Reading and looking happen one after another, in order; buffers are not mixed up."""
    order: list[tuple[str, int]] = []

    def reading(job: int, buffer: memoryview) -> memoryview:
        order.append(("read", job))
        return read(job, buffer)

    def looking(job: int, data: memoryview) -> None:
        assert number_in(data) == job
        order.append(("look", job))

    assert run(Treatment(read=reading, look=looking, treat=treat)) == [n**2 for n in range(40)]
    for step in ("read", "look"):
        assert [job for name, job in order if name == step] == list(range(40))


def test_jobs_are_treated_side_by_side() -> None:
    """The first is waiting while the second is treated: neither waits for a step of the other."""
    second = threading.Event()

    def treating(job: int, data: memoryview) -> int:
        if job == 1:
            second.set()
        assert second.wait(PATIENCE)
        return treat(job, data)

    assert run(Treatment(read=read, treat=treating), range(2)) == [0, 1]


def test_memory_is_a_ring_of_buffers() -> None:
    """However many jobs there are."""
    buffers: set[int] = set()

    def reading(job: int, buffer: memoryview) -> memoryview:
        buffers.add(id(buffer.obj))
        return read(job, buffer)

    run(Treatment(read=reading, treat=treat), range(500))
    assert len(buffers) <= 5


@pytest.mark.parametrize("step", ["read", "look", "treat"])
@pytest.mark.parametrize("failing", [0, 1, 7])
def test_failure_is_raised_at_its_job_and_ends_all(step: str, failing: int) -> None:
    """What came before is whole, no thread waits for a turn that never comes."""

    def fails(name: str, job: int) -> None:
        if name == step and job == failing:
            raise BundleDamaged(f"job {job}")

    def reading(job: int, buffer: memoryview) -> memoryview:
        fails("read", job)
        return read(job, buffer)

    def treating(job: int, data: memoryview) -> int:
        fails("treat", job)
        return treat(job, data)

    treatment = Treatment(read=reading, look=lambda job, _: fails("look", job), treat=treating)
    found: list[tuple[int, int]] = []
    with pytest.raises(BundleDamaged, match=f"job {failing}"):
        found.extend(work_ahead(range(20), treatment, buffer_size=SIZE))
    assert found == [(job, job**2) for job in range(failing)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bundle")]


def test_failure_of_the_jobs_themselves_ends_all() -> None:
    """A source of jobs that fails is told, and its threads are gone."""

    def jobs() -> Iterator[int]:
        yield from range(3)
        raise BundleDamaged("no more")

    with pytest.raises(BundleDamaged, match="no more"):
        list(work_ahead(jobs(), Treatment(read=read, treat=treat), buffer_size=SIZE))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bundle")]


def test_abandoned_work_ends() -> None:
    """Whoever stops taking results leaves no thread behind."""
    steps = work_ahead(range(1000), Treatment(read=read, treat=treat), buffer_size=SIZE)
    assert next(steps) == (0, 0)
    steps.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bundle")]
