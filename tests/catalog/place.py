"""Where a test's catalogue is, and what is put into it."""

import datetime as dt
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from modelvault.catalog.binding import schema_name
from modelvault.catalog.catalog import Catalog
from modelvault.catalog.values import Actor, Event
from modelvault.core.artifact import Artifact, ConversionOrigin, HubOrigin, License, Origin
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName, Reference
from modelvault.store.blobs import Store
from modelvault.store.identity import read_identity
from modelvault.store.paths import VaultPaths

START = dt.datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
ACTOR = Actor(name="ann", host="bastion")

COMMIT_A = "a" * 40
COMMIT_B = "b" * 40


@dataclass
class Clock:
    """A clock that moves one second at each look."""

    now: dt.datetime = START

    def __call__(self) -> dt.datetime:
        """Return the time."""
        now = self.now
        self.now += dt.timedelta(seconds=1)
        return now


@dataclass(frozen=True, kw_only=True)
class Place:
    """A vault's folder and the database that goes with it."""

    paths: VaultPaths
    url: str | None
    clock: Callable[[], dt.datetime] = field(default_factory=Clock)

    @property
    def is_sqlite(self) -> bool:
        """Whether the catalogue is the file in the vault."""
        return self.url is None

    def open(self, *, anew: bool = False) -> Catalog:
        """Return the catalogue, with a known actor and clock."""
        return Catalog.open(self.paths, url=self.url, actor=ACTOR, clock=self.clock, anew=anew)

    @property
    def schema(self) -> str:
        """The vault's schema on PostgreSQL."""
        identity = read_identity(self.paths)
        assert identity is not None
        return schema_name(identity)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run SQL behind the catalogue's back; return the rows of the last statement."""
        if self.url is None:
            lite = sqlite3.connect(self.paths.catalog)
            try:
                for statement in statements:
                    rows = lite.execute(statement).fetchall()
                lite.commit()
            finally:
                lite.close()
            return rows
        with psycopg.connect(self.url) as connection:
            if self.paths.identity.is_file():
                connection.execute(f"SET search_path TO {self.schema}".encode())
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def drop_guards(self) -> None:
        """Remove the triggers that keep the log append-only, as an intruder would."""
        if self.is_sqlite:
            names = ["events_refuse_update", "events_refuse_delete", "events_append_only"]
            self.run(*(f"DROP TRIGGER {name}" for name in names))
        else:
            names = ["events_refuse_change", "events_refuse_truncate"]
            self.run(*(f"DROP TRIGGER {name} ON events" for name in names))


def new_paths(root: Path) -> VaultPaths:
    """Return the paths of a new vault."""
    return Store.create(root).paths


def event(verb: str = "pull", subject: str = "org/name", **details: str) -> Event:
    """Return an event."""
    return Event(verb=verb, subject=subject, details=details)


def manifest(*contents: str) -> Manifest:
    """Return a manifest of one small file for each content."""
    files = [
        FileEntry(path=f"{content}.bin", digest=Digest.of(content.encode()), size=len(content))
        for content in contents or ("weights",)
    ]
    return Manifest.of(files)


def artifact(
    files: Manifest | None = None,
    *,
    model: str = "org/name",
    commit: str = COMMIT_A,
    requested: str = "main",
    variant: str | None = None,
    quantization: str | None = None,
    license_: str | None = "apache-2.0",
    origin: Origin | None = None,
    card: Mapping[str, str] | None = None,
) -> Artifact:
    """Return an artefact, pulled from a hub unless an origin is given."""
    hub = HubOrigin(
        endpoint="https://hub.example", commit=commit, requested=requested, gated=False,
        private=False,
    )  # fmt: skip
    return Artifact(
        model=ModelName.parse(model),
        revision=commit,
        variant=variant,
        format="safetensors" if variant is None else "gguf",
        quantization=quantization or variant,
        manifest=(files or manifest()).digest,
        license=None if license_ is None else License(id=license_),
        card=card or {},
        origin=origin or hub,
    )


def converted(parent: Artifact, variant: str, files: Manifest) -> Artifact:
    """Return an artefact converted from another."""
    origin = ConversionOrigin(
        parent=parent.digest,
        parent_manifest=parent.manifest,
        converter="gguf",
        tools={"gguf": "1"},
        parameters={"type": variant},
    )
    return artifact(
        files, model=str(parent.model), commit=parent.revision, variant=variant, origin=origin
    )


def add(catalog: Catalog, item: Artifact, files: Manifest | None = None) -> Artifact:
    """Add an artefact with its manifest; return it."""
    catalog.add_artifact(item, files or manifest(), event=event())
    return item


def find(catalog: Catalog, reference: str) -> Artifact:
    """Return the artefact that a reference means."""
    return catalog.find(Reference.parse(reference)).artifact
