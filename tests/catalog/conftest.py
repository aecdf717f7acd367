"""Every test of the catalogue runs on SQLite and on PostgreSQL."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.catalog.catalog import Catalog
from modelvault.store.paths import VaultPaths
from tests.catalog.place import Place, new_paths
from tests.support.postgresql import Server, postgresql_server

__all__ = ["postgresql_server"]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A vault without a catalogue."""
    paths = new_paths(tmp_path / "vault")
    if request.param == "sqlite":
        yield Place(paths=paths, url=None)
        return
    with _on_server(request.getfixturevalue("postgresql_server"), paths) as place:
        yield place


@contextlib.contextmanager
def _on_server(server: Server, paths: VaultPaths) -> Iterator[Place]:
    url = server.create_database()
    yield Place(paths=paths, url=url)
    server.drop_database(url)


@pytest.fixture
def catalog(place: Place) -> Iterator[Catalog]:
    """An empty catalogue."""
    with place.open() as catalog:
        yield catalog


@pytest.fixture
def lite(tmp_path: Path) -> Place:
    """A vault whose catalogue is SQLite, for what only a file can suffer."""
    return Place(paths=new_paths(tmp_path / "vault"), url=None)


@pytest.fixture
def server(postgresql_server: Server, tmp_path: Path) -> Iterator[Place]:
    """A vault whose catalogue is on PostgreSQL, for what only a server does."""
    with _on_server(postgresql_server, new_paths(tmp_path / "vault")) as place:
        yield place
