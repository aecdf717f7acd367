"""Who a vault is, and where its catalogue stands: ``vault.json`` in the vault's folder.

The same identity stands in the catalogue. So neither can be taken for another's: a catalogue
that is missing, another vault's, or on a server that the shell does not name is an error
before anything is listed or collected, not an empty list.

Format: ``docs/formats/vault.md``.

Example:
    >>> parse_identity(Identity(id="0" * 32).encode()).catalog is None
    True
"""

import os
import re
from dataclasses import dataclass, replace

from modelvault import fsio
from modelvault.core import canonical
from modelvault.core.fields import Fields
from modelvault.errors import MalformedRecord, UnsupportedVersion
from modelvault.store.paths import VaultPaths

TYPE = "modelvault/vault/v1"
LIMIT = 64 * 1024
"""Largest ``vault.json``, in bytes."""

SQLITE = "sqlite"
POSTGRESQL = "postgresql"

_TYPE = re.compile(r"modelvault/vault/v[1-9][0-9]{0,8}")
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPlace:
    """Where a catalogue stands."""

    kind: str
    """``sqlite`` or ``postgresql``."""
    where: str
    """For people: ``catalog.db``, or the server and database, without account or password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a vault is."""

    id: str
    """128 random bits, as 32 hexadecimal digits."""
    catalog: CatalogPlace | None = None
    """Where its catalogue was made; None before there is one."""

    def encode(self) -> bytes:
        """Return the canonical JSON of ``vault.json``."""
        place = self.catalog
        return canonical.encode(
            {
                "_type": TYPE,
                "catalog": None if place is None else {"kind": place.kind, "where": place.where},
                "id": self.id,
            }
        )


def parse_identity(data: bytes) -> Identity:
    """Return the identity encoded in ``data``.

    Raises:
        UnsupportedVersion: A newer release wrote it.
        MalformedRecord: It is not an identity.
    """
    fields = Fields(canonical.parse(data, limit=LIMIT), where="vault.json")
    kind = fields.text("_type")
    if kind != TYPE and _TYPE.fullmatch(kind):
        raise UnsupportedVersion(
            f"vault.json is of format {kind!r:.80}; this release reads {TYPE!r}",
            hint="run the newer modelvault here as well",
        )
    identity = Identity(id=fields.text("id", longest=32), catalog=_parse_place(fields))
    fields.finish()
    if kind != TYPE or not _ID.fullmatch(identity.id):
        raise MalformedRecord("vault.json: not the identity of a vault")
    return identity


def _parse_place(fields: Fields) -> CatalogPlace | None:
    if fields.is_null("catalog"):
        return None
    inner = fields.object("catalog")
    place = CatalogPlace(kind=inner.text("kind", longest=64), where=inner.text("where"))
    inner.finish()
    if place.kind not in (SQLITE, POSTGRESQL):
        raise UnsupportedVersion(
            f"vault.json: the catalogue is of a kind unknown here: {place.kind!r}",
            hint="run the newer modelvault here as well",
        )
    return place


def read_identity(paths: VaultPaths) -> Identity | None:
    """Return a vault's identity; None where it has none yet.

    Raises:
        MalformedRecord: ``vault.json`` is damaged; the message says what to do.
        StorageError: The file system refuses.
    """
    path = paths.identity
    try:
        with fsio.storage_errors(path), open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        return None
    try:
        return parse_identity(data)
    except MalformedRecord as error:
        raise MalformedRecord(
            f"{path}: {error.message}",
            hint="restore it from a backup; or remove it and run 'modelvault rebuild'",
        ) from error


def ensure_identity(paths: VaultPaths) -> Identity:
    """Return a vault's identity, making one where it has none.

    Of two processes that make one at the same time, both get the first one's.

    Raises:
        MalformedRecord: ``vault.json`` is damaged.
        StorageError: The file system refuses.
    """
    found = read_identity(paths)
    if found is not None:
        return found
    with fsio.lock(paths.identity.with_name("vault.json.lock"), wait=5.0, transient=True):
        found = read_identity(paths)
        if found is None:
            found = Identity(id=os.urandom(16).hex())
            fsio.write_durably(paths.identity, found.encode(), mode=0o644)
    return found


def bind_catalog(paths: VaultPaths, identity: Identity, place: CatalogPlace) -> Identity:
    """Record where the catalogue stands; return the identity that says so.

    Raises:
        StorageError: The file system refuses.
    """
    bound = replace(identity, catalog=place)
    if bound != identity:
        fsio.write_durably(paths.identity, bound.encode(), mode=0o644)
    return bound
