"""Bring a catalogue's schema up to date at first use.

Alembic is imported only when there is something to do. Two processes may meet here: each
looks again once it holds the writers' lock, and the loser finds the work done. A migration
is one transaction: killed half-way, it has not happened.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from modelvault import fsio
from modelvault.catalog.database import BUSY_SECONDS, Database
from modelvault.catalog.values import utc_now
from modelvault.catalog.versions import HEAD, is_current
from modelvault.errors import CatalogDamaged, CatalogUnavailable, NotFound
from modelvault.store.paths import VaultPaths

_SIDE_FILES = ("-wal", "-shm")


def ensure_current(
    database: Database, paths: VaultPaths, *, prepare: Callable[[Connection], None] | None = None
) -> None:
    """Make the schema what this release expects.

    Args:
        database: The catalogue's.
        paths: The vault.
        prepare: Called in the transaction that would make a catalogue where there is none, and
            may refuse; or may bring one from elsewhere.

    Raises:
        NewerCatalog: A newer release wrote the catalogue.
        CatalogDamaged: The database is not one.
        StorageError: The database refuses.
    """
    with database.connecting() as connection:
        if is_current(_read_version(connection, database.where), database.where):
            return
    with _migrating(database, paths), database.changing() as connection:
        found = _read_version(connection, database.where)
        if found is None and prepare is not None:
            prepare(connection)
            found = _read_version(connection, database.where)
        if not is_current(found, database.where):
            _upgrade(connection, database.where)


def _read_version(connection: Connection, where: str) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if len(found) > 1:
        raise CatalogDamaged(f"{where}: {len(found)} schema versions are recorded instead of one")
    return str(found[0]) if found else None


@contextlib.contextmanager
def _migrating(database: Database, paths: VaultPaths) -> Iterator[None]:
    """Let one process at a time switch a SQLite file to WAL, which no busy timeout covers."""
    if not database.is_sqlite:
        yield
        return
    lock = paths.catalog.with_name(paths.catalog.name + ".lock")
    with fsio.lock(lock, wait=BUSY_SECONDS):
        with database.connecting() as connection:
            driver = connection.connection.dbapi_connection
            if driver is not None:
                # Where the file system cannot do WAL, SQLite keeps its rollback journal,
                # which is as durable, only slower.
                driver.cursor().execute("PRAGMA journal_mode = WAL")
        yield


def _upgrade(connection: Connection, where: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    with migrations_folder() as folder:
        config = Config()
        # a percent sign starts an interpolation in Alembic's configuration
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, HEAD)
        except CommandError as error:
            raise CatalogUnavailable(f"{where}: the schema cannot be made: {error}") from error


@contextlib.contextmanager
def migrations_folder() -> Iterator[Path]:
    """Yield the folder of the migration scripts: in the installed package or the checkout."""
    try:
        packaged = resources.files("modelvault.migrations")
    except ModuleNotFoundError:
        checkout = Path(__file__).resolve().parents[2] / "migrations"
        if not (checkout / "env.py").is_file():
            raise CatalogUnavailable(
                "the catalogue's migrations are not installed", hint="install modelvault again"
            ) from None
        yield checkout
        return
    with resources.as_file(packaged) as folder:
        yield folder


def set_aside_damaged(paths: VaultPaths, *, now: dt.datetime | None = None) -> Path:
    """Rename an unreadable SQLite catalogue, so that a new one can be made; return its path.

    The write-ahead log goes first: beside a new, empty catalogue it would be replayed.

    Args:
        paths: The vault; no other process may be using its catalogue.
        now: The time that becomes part of the name.

    Raises:
        NotFound: There is no SQLite catalogue.
        StorageError: The file system refuses.
    """
    if not paths.catalog.is_file():
        raise NotFound(f"{paths.catalog}: there is no catalogue to set aside")
    stamp = (now or utc_now()).astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target = paths.catalog.with_name(f"{paths.catalog.name}.damaged-{stamp}")
    with fsio.storage_errors(paths.catalog):
        for suffix in _SIDE_FILES:
            side = paths.catalog.with_name(paths.catalog.name + suffix)
            if side.exists():
                side.rename(target.with_name(target.name + suffix))
        paths.catalog.rename(target)
    fsio.sync_folder(target.parent)
    return target
