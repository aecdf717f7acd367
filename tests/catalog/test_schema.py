"""The schema: made at first use, never by guess, refused when newer."""

import datetime as dt
import os
import sqlite3
import subprocess
import sys
import threading
from importlib import resources
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from modelvault.catalog import schema
from modelvault.catalog.catalog import Catalog
from modelvault.catalog.database import _WRITER_LOCK
from modelvault.catalog.rows import Row
from modelvault.catalog.schema import set_aside_damaged
from modelvault.catalog.versions import HEAD, REVISIONS
from modelvault.distribution import install_command
from modelvault.errors import (
    BadConfiguration,
    CatalogDamaged,
    CatalogUnavailable,
    NewerCatalog,
    NotFound,
    PermissionRefused,
    ReadOnly,
    VaultBusy,
    VaultNotFound,
)
from modelvault.store.paths import VaultPaths
from tests.catalog.place import Place, add, artifact, event, find

REPOSITORY = Path(__file__).parents[2]


def test_known_revisions_are_those_of_the_migrations_folder() -> None:
    """Who adds a migration is told to name it in ``versions``."""
    with schema.migrations_folder() as folder:
        scripts = ScriptDirectory(str(folder))
        found = [script.revision for script in scripts.walk_revisions()]
        assert tuple(reversed(found)) == REVISIONS
        assert scripts.get_heads() == [HEAD]


def test_migrations_are_found_in_the_checkout_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an installed package the folder beside ``modelvault`` serves."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(resources, "files", missing)
    with schema.migrations_folder() as folder:
        assert folder == REPOSITORY / "migrations"
    monkeypatch.setattr(schema, "__file__", "/nowhere/modelvault/catalog/schema.py")
    with pytest.raises(CatalogUnavailable, match="migrations"), schema.migrations_folder():
        pass


def test_migrated_schema_is_what_the_mappings_say(catalog: Catalog, place: Place) -> None:
    """Tables, columns, indexes and foreign keys: no difference between the two descriptions."""
    url = f"sqlite:///{place.paths.catalog}"
    if place.url is not None:
        url = place.url.replace("postgresql://", "postgresql+psycopg://")
        url += f"?options=-csearch_path={place.schema}"
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Row.metadata) == []
    finally:
        engine.dispose()


def test_alembic_is_imported_only_when_there_is_something_to_do(place: Place) -> None:
    """The second opening of a catalogue is cheap."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from modelvault.catalog.catalog import Catalog\n"
        "from modelvault.store.paths import VaultPaths\n"
        "Catalog.open(VaultPaths(Path(sys.argv[1])), url=sys.argv[2] or None).close()\n"
        "print('alembic' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(place.paths.root), place.url or ""]
    outputs = [
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout
        for _ in range(2)
    ]
    assert outputs == [b"True\n", b"False\n"]


def test_schema_without_a_version_is_made_anew(place: Place) -> None:
    """A migration that was recorded nowhere is done again from the start."""
    place.run("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    with place.open() as catalog:
        assert catalog.verify_history() == 0
    assert place.run("SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_newer_schema_is_refused_untouched(place: Place) -> None:
    """An older program never writes to a newer catalogue."""
    with place.open() as catalog:
        add(catalog, artifact())
    place.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerCatalog, match="9999"):
        place.open()
    assert place.run("SELECT version_num FROM alembic_version") == [("9999",)]


def test_two_schema_versions_are_damage(place: Place) -> None:
    """A catalogue at two places in its history is nowhere."""
    place.open().close()
    place.run("INSERT INTO alembic_version VALUES ('0000')")
    with pytest.raises(CatalogDamaged, match="2 schema versions"):
        place.open()


def test_migration_that_fails_leaves_an_empty_database(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration is one transaction; the next opening does all of it."""

    def fail(connection: object, where: str) -> None:
        upgrade(connection, where)  # type: ignore[arg-type]
        raise CatalogUnavailable("killed")

    upgrade = schema._upgrade
    monkeypatch.setattr(schema, "_upgrade", fail)
    with pytest.raises(CatalogUnavailable, match="killed"):
        place.open()
    monkeypatch.undo()
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.UndefinedTable)):
        place.run("SELECT 1 FROM events")
    with place.open() as catalog:
        assert catalog.verify_history() == 0


def test_threads_make_the_schema_once(place: Place) -> None:
    """Whoever comes second finds the work done."""
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait()
            with place.open() as catalog:
                catalog.record(event())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with place.open() as catalog:
        assert catalog.verify_history() == 4


def test_sqlite_is_durable_and_strict(lite: Place) -> None:
    """WAL, flushed commits, foreign keys."""
    with lite.open() as catalog, catalog._database.connecting() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000,
    }  # fmt: skip


def test_missing_folder_is_no_vault(tmp_path: Path) -> None:
    """A catalogue does not make its vault."""
    with pytest.raises(VaultNotFound):
        Catalog.open(VaultPaths(tmp_path / "none"))


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_attack_file_that_is_no_database_is_damage(lite: Place, content: bytes) -> None:
    """Garbage in place of the catalogue is named as such."""
    lite.paths.catalog.write_bytes(content)
    with pytest.raises(CatalogDamaged, match=r"catalog\.db"):
        lite.open()


def test_catalog_overwritten_in_the_middle_is_damage(lite: Place) -> None:
    """A disk that lost pages does not end in a traceback."""
    with lite.open() as catalog:
        for number in range(50):
            add(catalog, artifact(commit=f"{number:040x}"))
    size = lite.paths.catalog.stat().st_size
    with open(lite.paths.catalog, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(CatalogDamaged), lite.open() as catalog:
        list(catalog.artifacts())


def test_damaged_catalog_is_set_aside_with_its_log(lite: Place) -> None:
    """A new catalogue starts clean; the old one is kept for study."""
    lite.paths.catalog.write_bytes(b"garbage" * 1000)
    side = lite.paths.root / "catalog.db-wal"
    side.write_bytes(b"frames")
    aside = set_aside_damaged(lite.paths, now=dt.datetime(2030, 1, 2, tzinfo=dt.UTC))
    assert aside.name == "catalog.db.damaged-20300102T000000.000000Z"
    assert aside.read_bytes() == b"garbage" * 1000
    assert (lite.paths.root / f"{aside.name}-wal").read_bytes() == b"frames"
    assert not side.exists()
    with lite.open() as catalog:
        assert catalog.verify_history() == 0


def test_nothing_to_set_aside_is_said(lite: Place) -> None:
    """A missing catalogue is not a damaged one."""
    with pytest.raises(NotFound, match=r"catalog\.db"):
        set_aside_damaged(lite.paths)


def test_locked_catalog_is_busy(lite: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer that does not finish is waited for, then named."""
    monkeypatch.setattr("modelvault.catalog.database.BUSY_SECONDS", 0.2)
    with lite.open() as catalog:
        catalog.record(event())
        other = sqlite3.connect(lite.paths.catalog, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(VaultBusy, match=r"catalog\.db"):
                catalog.record(event())
            assert catalog.verify_history() == 1
        finally:
            other.close()
        assert catalog.record(event()).sequence == 2


def test_locked_server_is_busy(server: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's writers wait no longer than SQLite's."""
    monkeypatch.setattr("modelvault.catalog.database.BUSY_SECONDS", 1)
    assert server.url is not None
    with server.open() as catalog, psycopg.connect(server.url) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})".encode())
        with pytest.raises(VaultBusy):
            catalog.record(event())
        other.rollback()
        assert catalog.record(event()).sequence == 1


def test_server_that_went_away_is_unavailable_then_found_again(server: Place) -> None:
    """Idle connections that were cut are replaced without an error."""
    assert server.url is not None
    with server.open() as catalog:
        catalog.record(event())
        with psycopg.connect(server.url) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert catalog.record(event()).sequence == 2


def test_read_only_server_is_read_only(server: Place) -> None:
    """A standby can be read."""
    assert server.url is not None
    with server.open() as catalog:
        add(catalog, artifact())
    database = server.url.rpartition("/")[2]
    server.run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with server.open() as catalog:
        assert find(catalog, "org/name") == artifact()
        with pytest.raises(ReadOnly):
            catalog.record(event())


def test_dropped_table_is_damage(catalog: Catalog, place: Place) -> None:
    """A schema that somebody pruned is not taken for an empty catalogue."""
    place.run("DROP TABLE bundle_artifacts")
    with pytest.raises(CatalogDamaged, match="bundle_artifacts"):
        catalog.bundles()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cr3t@host/db",
        "sqlite:///s3cr3t",
        "not a url s3cr3t",
        "postgresql://u:p@host:s3cr3t/db",
        "",
    ],
)
def test_other_url_is_refused_without_its_password(lite: Place, url: str) -> None:
    """Only PostgreSQL is taken; what was given may hold a secret."""
    with pytest.raises(BadConfiguration) as caught:
        Catalog.open(lite.paths, url=url)
    assert "s3cr3t" not in caught.value.message + caught.value.hint
    assert "MODELVAULT_DATABASE_URL" in caught.value.hint


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_wrong_password_is_refused_and_not_shown(server: Place, scheme: str) -> None:
    """The message names server and database, never the password."""
    assert server.url is not None
    _, _, rest = server.url.partition("@")
    for url in (f"{scheme}://vault:s3cr3t@{rest}", f"{scheme}://vault@{rest}?password=s3cr3t"):
        with pytest.raises(CatalogUnavailable, match=rest) as caught:
            Catalog.open(server.paths, url=url)
        assert "s3cr3t" not in caught.value.message


def test_unreachable_server_is_named(lite: Place) -> None:
    """Nobody listens: the host is in the message, the password is not."""
    with pytest.raises(CatalogUnavailable, match=r"127\.0\.0\.1:1/db") as caught:
        Catalog.open(lite.paths, url="postgresql://vault:s3cr3t@127.0.0.1:1/db")
    assert "s3cr3t" not in caught.value.message


def test_account_without_rights_is_refused(server: Place) -> None:
    """An account that may only connect gets a plain answer."""
    assert server.url is not None
    server.open().close()
    server.run("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = "postgresql://guest:guest@" + server.url.partition("@")[2]
    with pytest.raises(PermissionRefused):
        Catalog.open(server.paths, url=guest)
    server.run("DROP ROLE guest")


def test_missing_driver_says_what_to_install(lite: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is an extra."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(CatalogUnavailable) as caught:
        Catalog.open(lite.paths, url="postgresql://host/db")
    assert caught.value.hint == install_command("postgresql")
