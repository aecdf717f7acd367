"""The quick way to the list of artefacts, for ``modelvault list`` and completion.

On SQLite it reads the view ``artifact_listing`` through the standard library, because
importing SQLAlchemy takes longer than everything else a listing does. Where the
database is PostgreSQL, missing, or in need of a migration, the catalogue is opened in
full.
"""

import contextlib
import sqlite3

from modelvault.catalog.faults import sqlite_errors
from modelvault.catalog.listing_query import EVERYTHING, ListingQuery
from modelvault.catalog.listing_view import parse_listing
from modelvault.catalog.sqlite_file import reading_uri
from modelvault.catalog.values import ListingRow
from modelvault.catalog.versions import is_current
from modelvault.store.identity import SQLITE, read_identity
from modelvault.store.paths import VaultPaths

_BUSY_SECONDS = 30


def read_listing(
    paths: VaultPaths, url: str | None = None, query: ListingQuery = EVERYTHING
) -> list[ListingRow]:
    """Return the artefacts of a vault.

    Args:
        paths: The vault.
        url: ``postgresql://…``; None or ``sqlite`` for the SQLite file in the vault.
        query: Which of them, in which order.

    Raises:
        VaultNotFound: There is no vault.
        CatalogElsewhere: The vault's catalogue was made in another database.
        CatalogIncomplete: The vault's catalogue is gone.
        ForeignCatalog: The catalogue is another vault's.
        NewerCatalog: A newer release wrote the catalogue.
        CatalogDamaged: The database is not one, or was altered.
        StorageError: The database refuses or cannot be reached.
    """
    if url in (None, SQLITE) and paths.catalog.is_file() and paths.blobs.is_dir():
        rows = _read_sqlite(paths, query)
        if rows is not None:
            return rows
    from modelvault.catalog.catalog import Catalog

    with Catalog.open(paths, url=url) as catalog:
        return catalog.listing(query)


def _read_sqlite(paths: VaultPaths, query: ListingQuery) -> list[ListingRow] | None:
    """Return the listing, or None where the catalogue has to be opened in full.

    That is where its schema is out of date, or vault and catalogue do not know each other.
    """
    identity = read_identity(paths)
    if identity is None or identity.catalog is None or identity.catalog.kind != SQLITE:
        return None
    where = str(paths.catalog)
    uri = reading_uri(paths.catalog)
    with (
        sqlite_errors(where),
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection,
    ):
        has_version = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
        ).fetchone()
        if has_version is None:
            return None
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if not is_current(None if version is None else str(version[0]), where):
            return None
        owner = connection.execute("SELECT id FROM vault").fetchone()
        if owner is None or str(owner[0]) != identity.id:
            return None
        return parse_listing(connection.execute(*query.statement()))
