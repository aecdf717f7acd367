"""A connection to the catalogue's database: SQLite in the vault, or PostgreSQL.

Invariants:
    * A write transaction excludes every other writer from its first statement on (SQLite:
      ``BEGIN IMMEDIATE``; PostgreSQL: an advisory lock), so that what it read is still
      true when it writes, and the event chain never forks.
    * A commit is on disk when it returns.
    * No password gets into a message, and no driver's error leaves.
    * On PostgreSQL every name means one in the vault's own schema.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from modelvault.catalog.faults import translate
from modelvault.catalog.sqlite_file import is_immutable, reading_uri
from modelvault.distribution import install_command
from modelvault.errors import BadConfiguration, CatalogUnavailable
from modelvault.store.identity import POSTGRESQL, SQLITE, CatalogPlace
from modelvault.store.paths import VaultPaths

BUSY_SECONDS = 30
"""How long a writer waits for others."""

_BEGIN = "modelvault_begin"
_WRITER_LOCK = 0x6D6F64656C76  # 'modelv', our advisory lock on PostgreSQL
_IMMUTABLE = {"mode": "ro", "immutable": "1", "uri": "true"}
_POSTGRESQL_SCHEMES = {"postgresql", "postgres", "postgresql+psycopg"}
_URL_HINT = "set MODELVAULT_DATABASE_URL to postgresql://USER:PASSWORD@HOST/DATABASE, or unset it"


class Database:
    """The catalogue's database; it knows transactions, not tables."""

    def __init__(
        self, engine: Engine, where: str, *, place: CatalogPlace, secret: str | None = None
    ) -> None:
        """Wrap an engine; ``open_database`` makes the right one.

        Args:
            engine: SQLAlchemy's, with its settings made.
            where: The database in messages, without its password.
            place: What the vault remembers of it.
            secret: The password, removed from what drivers say.
        """
        self.where = where
        """The database in messages, without its password."""
        self.place = place
        """What the vault remembers of where its catalogue stands."""
        self._engine = engine
        self._writer = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._secret = secret

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the file in the vault."""
        return self._engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Close every connection."""
        with self.errors():
            self._engine.dispose()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the database errors of the block.

        Raises:
            StorageError: The database is busy, full, read-only or out of reach.
            CatalogDamaged: Its file or tables are not what they should be.
        """
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise translate(error, self.where, secret=self._secret) from error

    @contextlib.contextmanager
    def connecting(self) -> Iterator[Connection]:
        """Yield a connection outside any transaction."""
        with self.errors(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def changing(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction, committed when the block ends well."""
        with self.errors(), self._writer.begin() as connection:
            self._exclude_writers(connection)
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session in a read transaction."""
        with self.errors(), Session(self._engine) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield a session in a write transaction, committed when the block ends well."""
        with self.errors(), Session(self._writer) as session, session.begin():
            self._exclude_writers(session.connection())
            yield session

    def _exclude_writers(self, connection: Connection) -> None:
        if not self.is_sqlite:
            connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=_WRITER_LOCK)
            )


def open_database(paths: VaultPaths, url: str | None, *, schema: str | None = None) -> Database:
    """Return the database of a vault; nothing is connected yet.

    Args:
        paths: The vault.
        url: ``postgresql://…``; None or ``sqlite`` for the SQLite file in the vault.
        schema: On PostgreSQL, the schema that every name is in; None for the account's usual one.

    Raises:
        BadConfiguration: The URL is not a PostgreSQL URL.
        CatalogUnavailable: The PostgreSQL driver is not installed.
    """
    if url in (None, SQLITE):
        return _open_sqlite(paths)
    parsed = _parse_url(url)
    try:
        engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,  # a conversion may keep the catalogue idle for hours
            connect_args=_connect_arguments(parsed),
        )
    except ImportError as error:
        raise CatalogUnavailable(
            "the PostgreSQL driver is not installed", hint=install_command("postgresql")
        ) from error
    if schema is not None:
        event.listen(engine, "connect", partial(_choose_schema, schema))
    password = parsed.password or parsed.query.get("password")
    return Database(
        engine,
        f"catalogue {_describe(parsed)}",
        place=CatalogPlace(kind=POSTGRESQL, where=_place(parsed)),
        secret=None if password is None else str(password),
    )


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # from None: what the parser quotes may be a part of the password
        raise BadConfiguration("the database URL does not parse", hint=_URL_HINT) from None
    if parsed.drivername not in _POSTGRESQL_SCHEMES:
        raise BadConfiguration(
            f"the database URL is of kind '{parsed.drivername}', not postgresql", hint=_URL_HINT
        )
    return parsed


def _describe(url: URL) -> str:
    return url.set(drivername="postgresql", query={}, password=None).render_as_string()


def _place(url: URL) -> str:
    """Return server and database, without the account: what of a URL outlives its change."""
    host = url.host or str(url.query.get("host", "localhost"))
    return f"{host}:{url.port or 5432}/{url.database or ''}"


def _choose_schema(schema: str, connection: Any, _record: object) -> None:
    """Let every unqualified name mean one in the schema, which need not exist yet."""
    # Outside any transaction: a setting made inside one ends when that is rolled back.
    before, connection.autocommit = connection.autocommit, True
    connection.execute(f'SET search_path TO "{schema}"')
    connection.autocommit = before


def _connect_arguments(url: URL) -> dict[str, str | int]:
    defaults: dict[str, str | int] = {
        "connect_timeout": 10,
        "application_name": "modelvault",
        "client_encoding": "utf8",
    }
    return {name: value for name, value in defaults.items() if name not in url.query}


def _open_sqlite(paths: VaultPaths) -> Database:
    arguments = {"timeout": BUSY_SECONDS, "isolation_level": None}
    if is_immutable(paths.catalog):
        url = URL.create(
            "sqlite", database=reading_uri(paths.catalog).partition("?")[0], query=_IMMUTABLE
        )
        engine = create_engine(url, connect_args=arguments, poolclass=NullPool)
    else:
        url = URL.create("sqlite", database=str(paths.catalog))
        engine = create_engine(url, connect_args=arguments)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    place = CatalogPlace(kind=SQLITE, where=paths.catalog.name)
    return Database(engine, str(paths.catalog), place=place)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Set what SQLite forgets between connections; WAL is a property of the file."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL may lose the last commits
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Begin by hand: the driver on its own would begin late, and never IMMEDIATE."""
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
