"""A vault and its catalogue know each other.

Invariants:
    * A catalogue bears the identity of one vault, and a vault's folder says where its
      catalogue was made. Another vault's catalogue is refused, and one that has gone is an
      error before anything is read from an empty one in its place.
    * Only ``rebuild`` makes a catalogue for a vault that had one, or that holds records.
    * On PostgreSQL each vault has a schema of its own, named after its identity; so many
      vaults may share one database.

Vaults of releases before identities were introduced get theirs at the first opening. Their
catalogue on PostgreSQL stood in the connection's default schema; it moves into the vault's
own, provided that the vault's store holds every record of it.
"""

import contextlib
from functools import partial

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from modelvault.catalog.database import Database, open_database
from modelvault.catalog.kept import find_records
from modelvault.catalog.rows import VaultRow
from modelvault.catalog.schema import ensure_current
from modelvault.core.digest import Digest
from modelvault.errors import (
    CatalogElsewhere,
    CatalogIncomplete,
    ForeignCatalog,
    PermissionRefused,
    ReadOnly,
)
from modelvault.store.blobs import Store
from modelvault.store.identity import (
    POSTGRESQL,
    Identity,
    bind_catalog,
    ensure_identity,
    read_identity,
)
from modelvault.store.paths import VaultPaths

REBUILD_HINT = "run 'modelvault rebuild': it restores the catalogue from the records in the store"

_FORMER = (
    *(("TABLE", name) for name in ("alembic_version", "models", "revisions", "labels")),
    *(("TABLE", name) for name in ("artifacts", "files", "lineage", "bundles")),
    *(("TABLE", name) for name in ("bundle_artifacts", "installs", "events")),
    ("VIEW", "artifact_listing"),
    ("FUNCTION", "modelvault_refuse_change()"),
)
"""What schema ``0001`` consisted of."""


def open_bound(paths: VaultPaths, url: str | None, *, anew: bool) -> Database:
    """Return the database of a vault's own catalogue, with the schema of this release.

    Args:
        paths: The vault.
        url: ``postgresql://…``; None or ``sqlite`` for the SQLite file in the vault.
        anew: Whether an empty catalogue may be made for a vault that had one, or that holds
            artefacts.

    Raises:
        VaultNotFound: There is no vault in the folder.
        BadConfiguration: The URL is not a PostgreSQL URL.
        NewerCatalog: A newer release wrote the catalogue.
        CatalogElsewhere: The vault's catalogue was made in another database.
        CatalogIncomplete: The vault's catalogue is gone.
        ForeignCatalog: The catalogue is another vault's.
        CatalogDamaged: The database is not one.
        StorageError: The database refuses or cannot be reached.
    """
    store = Store.open(paths.root)
    identity = identify(paths)
    schema = None if identity is None else schema_name(identity)
    database = open_database(paths, url, schema=schema)
    try:
        if identity is not None:
            _check_kind(identity, database, explicit=url is not None)
        prepare = partial(_prepare, database, identity, store, anew=anew)
        ensure_current(database, paths, prepare=prepare)
        if identity is not None:
            _claim(database, paths, identity)
    except BaseException:
        database.close()
        raise
    return database


def identify(paths: VaultPaths) -> Identity | None:
    """Return a vault's identity; None where it has none and none can be written.

    Raises:
        MalformedRecord: ``vault.json`` is damaged.
        StorageError: The file system refuses.
    """
    try:
        return ensure_identity(paths)
    except (ReadOnly, PermissionRefused):
        return read_identity(paths)


def schema_name(identity: Identity) -> str:
    """Return the name of a vault's schema on PostgreSQL."""
    return f"modelvault_{identity.id}"


def _check_kind(identity: Identity, database: Database, *, explicit: bool) -> None:
    """Refuse a database of another kind than the one the vault's catalogue was made in.

    Args:
        identity: The vault's.
        database: What the settings name.
        explicit: Whether they name it in so many words, rather than by saying nothing.

    Raises:
        CatalogElsewhere: The catalogue is on PostgreSQL, and no database is named.
    """
    known = identity.catalog
    if known is None or known.kind != POSTGRESQL or not database.is_sqlite or explicit:
        return
    raise CatalogElsewhere(
        f"this vault's catalogue is on PostgreSQL ({known.where}), and no database is named here",
        hint="set MODELVAULT_DATABASE_URL, or write it into config.toml: [catalog] url = …",
    )


def _prepare(
    database: Database,
    identity: Identity | None,
    store: Store,
    connection: Connection,
    *,
    anew: bool,
) -> None:
    """Bring a catalogue of an earlier release, or refuse to make an empty one out of turn.

    Raises:
        CatalogElsewhere: The catalogue was made somewhere else.
        CatalogIncomplete: It is gone.
    """
    if identity is not None and not database.is_sqlite:
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema_name(identity)}"'))
        if _adopt_former_schema(connection, identity, store):
            return
    if anew:
        return
    known = None if identity is None else identity.catalog
    if known is not None and known != database.place:
        raise CatalogElsewhere(
            f"this vault's catalogue was made in {known.where}; there is none of it in"
            f" {database.where}",
            hint=f"name that database again; or, to have a new catalogue here, {REBUILD_HINT}",
        )
    if known is not None or any(find_records(store)):
        raise CatalogIncomplete(
            f"{database.where}: the catalogue of this vault is gone, its models are not",
            hint=f"restore it from a backup; or {REBUILD_HINT}",
        )


def _adopt_former_schema(connection: Connection, identity: Identity, store: Store) -> bool:
    """Move an earlier release's catalogue from the default schema; return whether it was.

    It is moved only where it is this vault's beyond doubt: it holds artefacts, and the store
    has the record of each. What several vaults have mixed stays where it is.
    """
    found = "SELECT to_regclass('public.alembic_version'), to_regclass('public.artifacts')"
    if None in connection.execute(text(found)).one():
        return False
    digests = connection.execute(text("SELECT digest FROM public.artifacts")).scalars().all()
    if not digests or not all(store.has(Digest(found)) for found in digests):
        return False
    schema = schema_name(identity)
    for kind, name in _FORMER:
        connection.execute(text(f'ALTER {kind} public.{name} SET SCHEMA "{schema}"'))
    return True


def _claim(database: Database, paths: VaultPaths, identity: Identity) -> None:
    """Write the vault's identity into a catalogue that has none, and its place into the vault.

    Where neither can be written, as on a read-only mount, both stay as they are.

    Raises:
        ForeignCatalog: The catalogue is another vault's.
    """
    with database.reading() as session:
        found = _owner(session)
    if found is None:
        with contextlib.suppress(ReadOnly, PermissionRefused), database.writing() as session:
            found = _owner(session)
            if found is None:
                session.add(VaultRow(number=1, id=identity.id))
    if found not in (None, identity.id):
        raise ForeignCatalog(
            f"{database.where}: this is the catalogue of another vault ({found[:8]}…),"
            f" not of {paths.root} ({identity.id[:8]}…)",
            hint=f"put the vault's own catalogue back; or {REBUILD_HINT}",
        )
    with contextlib.suppress(ReadOnly, PermissionRefused):
        bind_catalog(paths, identity, database.place)


def _owner(session: Session) -> str | None:
    return session.scalar(select(VaultRow.id))
