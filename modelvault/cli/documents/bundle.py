"""What ``export``, ``import`` and the commands of ``bundle`` print."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from modelvault.app.bundles import Checked
from modelvault.app.export import Exported
from modelvault.app.import_ import Imported
from modelvault.app.sign import Signed
from modelvault.cli.documents.artifacts import ArtifactName, names_of
from modelvault.cli.documents.document import Document, parse_time
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.names import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedArtifact(Document):
    """One artefact that would be exported."""

    reference: Reference
    artifact: Digest
    size: int
    """Bytes of all its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedExport(Document):
    """What an export would carry: ``--dry-run``."""

    folder: Path
    artifacts: tuple[ExportedArtifact, ...]

    @classmethod
    def of(cls, folder: Path, artifacts: Sequence[Artifact], sizes: dict[Digest, int]) -> Self:
        """Return a plan for programs."""
        return cls(
            folder=folder,
            artifacts=tuple(
                ExportedArtifact(
                    reference=item.reference, artifact=item.digest, size=sizes[item.digest]
                )
                for item in artifacts
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedExport(Document):
    """A bundle that was written."""

    folder: Path
    index: Digest
    """Digest of the index: the bundle's identity."""
    artifacts: tuple[ArtifactName, ...]
    volumes: tuple[str, ...]
    size: int
    """Bytes of all contents."""
    stored_size: int
    """Bytes of all volumes."""
    serial: int
    fingerprint: str
    """Of the key that signed it."""
    key_created: bool
    """Whether that key was made for this export."""
    unchanged: bool
    """Whether a bundle of the same content stood there and nothing was written."""

    @classmethod
    def of(cls, folder: Path, done: Exported) -> Self:
        """Return an export for programs."""
        written = done.bundle
        return cls(
            folder=folder,
            index=written.index_digest,
            artifacts=names_of(done.artifacts),
            volumes=tuple(carrier.name for carrier in written.carriers),
            size=written.size,
            stored_size=written.stored_size,
            serial=written.serial,
            fingerprint=written.fingerprint,
            key_created=done.key.created,
            unchanged=written.unchanged,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedOnMedium(Document):
    """An artefact of the bundle that is damaged and was not taken."""

    artifact: Digest
    label: str
    """``ORG/NAME[:VARIANT]``, or the digest where the record itself is damaged."""
    reasons: tuple[str, ...]
    """What of it is damaged, a sentence each that names the volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedImport(Document):
    """A bundle that was taken in."""

    folder: Path
    artifacts: tuple[ArtifactName, ...]
    new_artifacts: tuple[ArtifactName, ...]
    """Those that the vault did not know before."""
    new_bytes: int
    """Bytes read from the medium by this run."""
    skipped_bytes: int
    """Bytes that the vault had already."""
    signers: tuple[str, ...]
    """Fingerprints of the trusted keys that signed the bundle."""
    left_out: tuple[str, ...]
    """Artefacts of a newer release, which this one does not read."""
    damaged: tuple[DamagedOnMedium, ...]
    """Where there are any, the command ends with an error."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, done: Imported) -> Self:
        """Return an import for programs."""
        return cls(
            folder=done.folder,
            artifacts=names_of(done.artifacts),
            new_artifacts=names_of(done.new),
            new_bytes=done.new_bytes,
            skipped_bytes=done.skipped_bytes,
            signers=done.signers,
            left_out=done.left_out,
            damaged=tuple(
                DamagedOnMedium(artifact=item.digest, label=item.label, reasons=item.reasons)
                for item in done.damaged
            ),
            warnings=done.warnings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleContents(Document):
    """What a bundle says of itself, once its signature was checked."""

    folder: Path
    index: Digest
    """Digest of the index: the bundle's identity."""
    signers: tuple[str, ...]
    """Fingerprints whose signatures verify."""
    trusted: bool
    """Whether the key of ``--key``, or one that the vault trusts, or its own, has signed it; else
    the signature was checked with the medium's own key."""
    serial: int
    created_at: dt.datetime
    expires_at: dt.datetime | None
    size: int
    """Bytes of all contents."""
    stored_size: int
    """Bytes of all volumes."""
    volumes: tuple[str, ...]
    artifacts: tuple[ArtifactName, ...]
    left_out: tuple[str, ...]
    """Artefacts of a newer release, which this one does not read."""

    @classmethod
    def of(cls, checked: Checked) -> Self:
        """Return a bundle for programs."""
        return cls(
            folder=checked.folder,
            index=checked.index_digest,
            signers=checked.signers,
            trusted=checked.trusted,
            serial=checked.serial,
            created_at=parse_time(checked.created),
            expires_at=parse_time(checked.expires) if checked.expires else None,
            size=checked.size,
            stored_size=checked.stored_size,
            volumes=checked.volumes,
            artifacts=names_of(checked.artifacts),
            left_out=checked.left_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBundle(Document):
    """A bundle that bears this vault's signature now."""

    folders: tuple[Path, ...]
    """The media."""
    index: Digest
    """Digest of the index: the bundle's identity."""
    serial: int
    fingerprint: str
    """Of this vault's key."""
    key_created: bool
    """Whether that key was made for this signature."""
    signers: tuple[str, ...]
    """Fingerprints whose signatures verify, this vault's among them."""
    new: bool
    """False where this vault's key had signed it before: nothing was written."""
    artifacts: tuple[ArtifactName, ...]
    """What it holds; empty where nothing was written."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, done: Signed) -> Self:
        """Return a signed bundle for programs."""
        return cls(
            folders=done.folders,
            index=done.index_digest,
            serial=done.serial,
            fingerprint=done.key.fingerprint,
            key_created=done.key.created,
            signers=done.signers,
            new=done.new,
            artifacts=names_of(done.artifacts),
            warnings=done.warnings,
        )
