"""What holds for every test, and what tests ask for by name."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.network import Reach, limited

# The same examples in every run, however long one takes. To look for others:
# HYPOTHESIS_PROFILE=default make test
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Heed SIGINT: shells start what runs in the background without, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


SHARED_MEMORY = Path("/dev/shm")
ENOUGH = 48 * 1024 * 1024
"""Bytes that have to be free in shared memory; containers often have 64 MiB in all."""


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty folder; in memory, where flushing is free, for tests marked ``memory``.

    The mark is for tests that ask what is written, not what a disk does: a vault flushes every
    file and folder, and on a disk a test waits for that most of its time. Where there is too
    little shared memory the folder is on the disk, as for every other test.
    """
    marked = request.node.get_closest_marker("memory") is not None
    if not marked or not SHARED_MEMORY.is_dir() or shutil.disk_usage(SHARED_MEMORY).free < ENOUGH:
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY, prefix="modelvault-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True, scope="session")
def _uncounted_children() -> None:
    """Count lines in this process alone: commands have clean environments and limits of time."""
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(autouse=True)
def _loopback() -> Iterator[None]:
    """Whatever a test does, it does on this machine."""
    with limited(Reach.LOOPBACK):
        yield


@pytest.fixture
def no_network(_loopback: None) -> Iterator[None]:
    """Not even loopback: for what a host without a network does."""
    with limited(Reach.NOWHERE):
        yield
