"""Fixtures of the target tests: a store, and a second file system."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.store.blobs import Store
from tests.support.filesystems import other_file_system


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


@pytest.fixture
def elsewhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an empty folder on another file system than the store's."""
    with other_file_system(tmp_path, tmp_path_factory.getbasetemp()) as folder:
        yield folder


@pytest.fixture(autouse=True)
def _sealed(no_network: None) -> None:
    """An install happens where there is no network."""
