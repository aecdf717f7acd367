"""What ``verify``, ``remove``, ``gc``, ``history`` and ``rebuild`` print."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from modelvault.app.housekeeping import Collected, Rebuilt, Removed
from modelvault.app.upstream import State, Upstream
from modelvault.app.verify import Verified
from modelvault.catalog.values import RecordedEvent
from modelvault.cli.documents.artifacts import ArtifactName, names_of
from modelvault.cli.documents.document import Document
from modelvault.core.digest import Digest
from modelvault.core.names import Reference

if TYPE_CHECKING:  # what signs is imported by who asks for a signature
    from modelvault.app.log_head import SignedHead, VerifiedLog


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedArtifact(Document):
    """One artefact against what its Hub offers now."""

    reference: Reference
    endpoint: str
    requested: str
    """Branch, tag or commit that was pulled."""
    state: State
    commit: str
    """The vault's."""
    upstream_commit: str | None
    """The Hub's; null where it is not known."""
    changed: tuple[str, ...]
    """Paths that an update would fetch again."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    reason: str | None
    """Why the state is ``gone`` or ``unknown``."""

    @classmethod
    def of(cls, item: Upstream) -> Self:
        """Return one comparison for programs."""
        found = item.difference
        return cls(
            reference=item.artifact.reference,
            endpoint=item.origin.endpoint,
            requested=item.origin.requested,
            state=item.state,
            commit=item.artifact.revision,
            upstream_commit=item.commit or None,
            changed=found.changed if found else (),
            added=found.added if found else (),
            removed=found.removed if found else (),
            reason=item.reason or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedVault(Document):
    """What was re-hashed and found intact."""

    artifacts: tuple[ArtifactName, ...]
    blob_count: int
    size: int
    """Bytes re-hashed."""
    event_count: int | None
    """Entries of the event log whose chain was checked; null where artefacts were named."""
    unsupported: tuple[str, ...]
    """What a newer release wrote and this one could not look into."""
    upstream: tuple[ComparedArtifact, ...] | None
    """Null without ``--upstream``."""

    @classmethod
    def of(cls, found: Verified, compared: Sequence[Upstream] | None) -> Self:
        """Return what was verified for programs."""
        return cls(
            artifacts=names_of(found.artifacts),
            blob_count=found.blobs,
            size=found.size,
            event_count=found.events,
            unsupported=found.unsupported,
            upstream=None if compared is None else tuple(map(ComparedArtifact.of, compared)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedArtifacts(Document):
    """What the vault holds no longer, or would not."""

    artifacts: tuple[ArtifactName, ...]
    freed_size: int
    """Bytes of files that nothing else needs; ``gc`` frees them."""
    dry_run: bool
    """Whether nothing was removed yet."""

    @classmethod
    def of(cls, done: Removed, *, dry_run: bool) -> Self:
        """Return what was removed for programs."""
        return cls(artifacts=names_of(done.artifacts), freed_size=done.freed, dry_run=dry_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedGarbage(Document):
    """What was freed, or would be."""

    blobs: tuple[Digest, ...]
    leftovers: tuple[str, ...]
    """Names of temporary files and abandoned partials."""
    size: int
    """Bytes of all."""
    dry_run: bool
    """Whether nothing was removed yet."""

    @classmethod
    def of(cls, found: Collected, *, dry_run: bool) -> Self:
        """Return what was found for programs."""
        return cls(
            blobs=tuple(blob.digest for blob in found.garbage.blobs),
            leftovers=tuple(path.name for path in found.leftovers),
            size=found.garbage.size + found.leftover_size,
            dry_run=dry_run,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent(Document):
    """One entry of the event log."""

    sequence: int
    time: dt.datetime
    hashed_time: str
    """The time to the microsecond, as ``hash`` covers it."""
    actor: str
    """Account that acted."""
    host: str
    verb: str
    subject: str
    details: Mapping[str, str] = field(hash=False)
    hash: Digest
    """Over this entry and the hash of the one before."""

    @classmethod
    def of(cls, event: RecordedEvent) -> Self:
        """Return one entry for programs."""
        return cls(
            sequence=event.sequence,
            time=event.time,
            hashed_time=event.time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            actor=event.actor,
            host=event.host,
            verb=event.verb,
            subject=event.subject,
            details=event.details,
            hash=event.hash,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedHead(Document):
    """The end of the event log, to be kept elsewhere: ``--head``."""

    vault: str
    """Identity of the vault."""
    sequence: int
    """Number of the last event; 0 for an empty log."""
    hash: Digest
    """Of the last event."""
    time: dt.datetime | None
    """Of the last event."""
    fingerprint: str | None
    """Of the vault's key; null where it has none that can be used."""
    payload: str
    """What is signed: canonical JSON."""
    envelope: str | None
    """DSSE envelope around a statement about the payload, JSON."""

    @classmethod
    def of(cls, found: "SignedHead") -> Self:
        """Return a head for programs."""
        return cls(
            vault=found.head.vault,
            sequence=found.head.head.sequence,
            hash=found.head.head.hash,
            time=found.head.time,
            fingerprint=found.signer,
            payload=found.head.encode().decode("utf-8"),
            envelope=found.envelope.decode("utf-8") if found.envelope else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLog(Document):
    """An event log whose chain holds: ``--verify``."""

    event_count: int
    against: int | None
    """Number of the event that ``--against`` names, and that the log contains as it was kept."""
    fingerprint: str | None
    """Of the key that signed what was kept, where it is known here."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, found: "VerifiedLog") -> Self:
        """Return a checked log for programs."""
        return cls(
            event_count=found.events,
            against=found.against.head.sequence if found.against else None,
            fingerprint=found.signer,
            warnings=found.warnings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltCatalog(Document):
    """What was restored from the store."""

    artifacts: tuple[ArtifactName, ...]
    set_aside: Path | None
    """Where a catalogue that could not be read was moved."""
    issues: tuple[str, ...]
    unsupported: tuple[Digest, ...]
    """Records of newer releases, which stay in the store."""

    @classmethod
    def of(cls, found: Rebuilt) -> Self:
        """Return what was restored for programs."""
        return cls(
            artifacts=names_of(found.artifacts),
            set_aside=found.set_aside,
            issues=found.issues,
            unsupported=found.unsupported,
        )
