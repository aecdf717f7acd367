"""The catalogue: what the vault holds, and what happened to it.

Invariants:
    * Every change and the event that tells of it are one transaction.
    * Events are appended, never changed; each vouches for all before it.
    * Values come out, never rows; errors come out as ``modelvault.errors``.
    * Artefacts can be rebuilt from the store alone.
"""

import contextlib
import datetime as dt
from collections.abc import Collection, Iterable, Iterator
from typing import Self

from sqlalchemy.orm import Session

from modelvault.catalog import artifacts, bundles, events, installs
from modelvault.catalog.binding import open_bound
from modelvault.catalog.database import Database
from modelvault.catalog.reading import Reading
from modelvault.catalog.rebuild import rebuild
from modelvault.catalog.values import (
    Actor,
    Bundle,
    ChainHead,
    Clock,
    Direction,
    Event,
    Install,
    RecordedBundle,
    RecordedEvent,
    RecordedInstall,
    utc_now,
)
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.store.paths import VaultPaths


class Catalog(Reading):
    """An open catalogue; use it in a ``with`` block. Threads may share it."""

    def __init__(self, database: Database, *, actor: Actor, clock: Clock) -> None:
        """Use a database whose schema is current; ``Catalog.open`` makes it so.

        Args:
            database: Where the catalogue is; closed with it.
            actor: Who acts, for the log of events.
            clock: Tells the time of events, in UTC.
        """
        super().__init__(database)
        self._actor = actor
        self._clock = clock

    @classmethod
    def open(
        cls,
        paths: VaultPaths,
        *,
        url: str | None = None,
        actor: Actor | None = None,
        clock: Clock = utc_now,
        anew: bool = False,
    ) -> "Catalog":
        """Return the catalogue of a vault, making or migrating it where needed.

        Args:
            paths: The vault; its folder exists.
            url: ``postgresql://…``; None or ``sqlite`` for the SQLite file in the vault.
            actor: Who acts; None for the account this process runs under.
            clock: Tells the time.
            anew: Whether an empty catalogue may be made for a vault that had one, or that
                holds artefacts: for ``rebuild`` alone.

        Raises:
            VaultNotFound: There is no vault in the folder.
            BadConfiguration: The URL is not a PostgreSQL URL.
            NewerCatalog: A newer release wrote the catalogue.
            CatalogElsewhere: The vault's catalogue was made in another database.
            CatalogDamaged: It is gone, another vault's, or no catalogue.
            StorageError: The database refuses or cannot be reached.
        """
        database = open_bound(paths, url, anew=anew)
        return cls(database, actor=actor or Actor.current(), clock=clock)

    def __enter__(self) -> Self:
        """Return the catalogue itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    @contextlib.contextmanager
    def _changing(self, event: Event) -> Iterator[tuple[Session, dt.datetime]]:
        """Yield a write transaction and its time; the event goes in before it commits."""
        with self._database.writing() as session:
            now = self._clock()
            events.append(session, event, self._actor, now)
            yield session, now

    def add_artifact(
        self,
        artifact: Artifact,
        manifest: Manifest,
        *,
        event: Event,
        requested: str | None = None,
    ) -> bool:
        """Add an artefact; return whether it is new.

        A known artefact is left alone, but the branch or tag it was requested under points
        to its revision from now on.

        Args:
            artifact: What to add.
            manifest: Its manifest.
            event: What to log.
            requested: The branch or tag of this request, where the content is known by a
                record that names another; None for the record's own.

        Raises:
            MalformedRecord: The manifest is not the artefact's.
        """
        with self._changing(event) as (session, now):
            return artifacts.add(session, artifact, manifest, now, requested)

    def add_artifacts(
        self,
        items: Iterable[tuple[Artifact, Manifest]],
        *,
        event: Event,
        bundle: Bundle | None = None,
    ) -> tuple[Digest, ...]:
        """Add many artefacts, all or none; return the identities of those that are new.

        After ``event`` itself, each new artefact gets an event of its own, of the same verb
        and details, whose subject is its full reference: its history begins there.

        Args:
            items: Artefacts with their manifests; read once.
            event: What happened as a whole, such as an import.
            bundle: The bundle they came in, recorded in the same transaction.

        Raises:
            MalformedRecord: A manifest is not its artefact's.
        """
        new: list[Digest] = []
        with self._changing(event) as (session, now):
            for artifact, manifest in items:
                if artifacts.add(session, artifact, manifest, now):
                    new.append(artifact.digest)
                    details = {**event.details, "artifact": str(artifact.digest)}
                    own = Event(verb=event.verb, subject=str(artifact.reference), details=details)
                    events.append(session, own, self._actor, now)
            if bundle is not None:
                bundles.add(session, bundle, now)
        return tuple(new)

    def remove_artifact(self, digest: Digest, *, event: Event) -> None:
        """Forget an artefact; its blobs stay until they are collected.

        Raises:
            ArtifactNotFound: There is none.
            TargetConflict: It is installed somewhere.
        """
        self.remove_artifacts([(digest, event)])

    def refuse_installed(self, digests: Collection[Digest]) -> None:
        """Say what hinders the removal of artefacts.

        Raises:
            TargetConflict: Some are installed; ``issues`` names each of them.
        """
        with self._database.reading() as session:
            artifacts.refuse_installed(session, digests)

    def remove_artifacts(self, removals: Iterable[tuple[Digest, Event]]) -> None:
        """Forget artefacts, all or none, each with its event; their blobs stay.

        Raises:
            ArtifactNotFound: One is not there.
            TargetConflict: Some are installed; ``issues`` names each of them.
        """
        chosen = dict(removals)
        with self._database.writing() as session:
            now = self._clock()
            artifacts.refuse_installed(session, chosen.keys())
            artifacts.remove(session, chosen.keys())
            for event in chosen.values():
                events.append(session, event, self._actor, now)

    def rebuild(
        self,
        records: Iterable[tuple[Artifact, Manifest, dt.datetime]],
        *,
        event: Event,
        keep: frozenset[Digest] = frozenset(),
    ) -> int:
        """Make the catalogue hold exactly these artefacts; return their number.

        Events, installs and bundles stay. Labels point to the newest revision that was
        requested under them.

        Args:
            records: Artefacts in any order, with the time each was first kept; read once.
            keep: Artefacts of a newer release, whose rows stay as they are where there are any.
            event: What to log.

        Raises:
            MalformedRecord: A manifest is not its artefact's.
        """
        with self._changing(event) as (session, _):
            return rebuild(session, records, keep)

    def record_bundle(self, bundle: Bundle, *, event: Event) -> int:
        """Record a bundle that left or entered this site; return the number of its row."""
        with self._changing(event) as (session, now):
            return bundles.add(session, bundle, now)

    def bundles(self) -> tuple[RecordedBundle, ...]:
        """Return every recorded bundle, oldest first."""
        with self._database.reading() as session:
            return tuple(bundles.read_all(session))

    def last_serial(self, publisher: str, *, direction: Direction | None = None) -> int:
        """Return the highest serial of a key's bundles, of one or both ways; 0 for none."""
        with self._database.reading() as session:
            return bundles.read_last_serial(session, publisher, direction)

    def add_install(
        self, install: Install, *, event: Event, replaces: int | None = None
    ) -> RecordedInstall:
        """Record an install; return it with its number.

        Args:
            install: What was installed where.
            event: What to log.
            replaces: Number of the active install whose place it takes, closed in the same
                transaction.

        Raises:
            ArtifactNotFound: The catalogue does not hold the artefact.
            InstallNotFound: There is no active install to replace.
            TargetConflict: Another active install has the same target, location and name.
            MalformedRecord: The receipt, name or location cannot be kept.
        """
        with self._changing(event) as (session, now):
            return installs.add(session, install, now, replaces=replaces)

    def close_install(self, number: int, *, event: Event) -> RecordedInstall:
        """Record that an install was removed; return it as it is now.

        Raises:
            InstallNotFound: There is no such install, or it was removed before.
        """
        with self._changing(event) as (session, now):
            return installs.close(session, number, now)

    def installs(
        self, *, active: bool = True, artifact: Digest | None = None
    ) -> tuple[RecordedInstall, ...]:
        """Return installs, oldest first.

        Args:
            active: Leave out those that were removed.
            artifact: Only installs of this artefact; None for all.
        """
        with self._database.reading() as session:
            return tuple(installs.read_all(session, artifact, active=active))

    def record(self, event: Event) -> ChainHead:
        """Log something that changes nothing else; return the new end of the log."""
        with self._database.writing() as session:
            return events.append(session, event, self._actor, self._clock())

    def history(
        self, subject: str | None = None, *, verb: str | None = None
    ) -> Iterator[RecordedEvent]:
        """Yield events, oldest first; as ``events.read_history`` chooses them.

        Raises:
            CatalogDamaged: An event cannot be read.
        """
        return events.read_history(self._database, subject, verb)

    def chain_head(self) -> ChainHead:
        """Return the end of the log, to be kept elsewhere as an anchor."""
        with self._database.reading() as session:
            return events.read_head(session)

    def last_time(self) -> dt.datetime | None:
        """Return when the last event was logged; None for an empty log."""
        with self._database.reading() as session:
            return events.read_last_time(session)

    def verify_history(self, *, anchor: ChainHead | None = None) -> int:
        """Recompute the chain of events; return their number.

        Args:
            anchor: A head kept elsewhere that the log must still contain. Without one, a
                log that was cut short at its end cannot be told from a younger one.

        Raises:
            CatalogDamaged: An event was altered, removed or inserted; the message names the
                first one that does not fit.
        """
        return events.verify(self._database, anchor)
