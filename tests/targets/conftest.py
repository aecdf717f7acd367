"""Fixtures of the target tests: a store, and a second file system."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.store.blobs import Store

ELSEWHERE = Path("/dev/shm")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder on another file system than the store's."""
    if not ELSEWHERE.is_dir() or ELSEWHERE.stat().st_dev == tmp_path.stat().st_dev:
        if os.environ.get("MODELVAULT_REQUIRE_ALL") == "1":
            pytest.fail("no second file system")
        pytest.skip("no second file system")
    folder = Path(tempfile.mkdtemp(dir=ELSEWHERE))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder where fsync costs nothing, for tests that kill at each one."""
    if not ELSEWHERE.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=ELSEWHERE))
    yield folder
    shutil.rmtree(folder)
