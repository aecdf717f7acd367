"""What a verified bundle says it carries: artefacts with manifests, checked as one.

Applies rules 5 to 7 of ``docs/formats/bundle.md``: records name their manifests, every
file is there, and nothing travels that no artefact asks for. An artefact whose record or
manifest is of a newer release, or damaged on the medium, is left out and named; the others are
read as ever.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from modelvault.bundle.format.index import Assumed, BlobPieces, Entry, Index
from modelvault.bundle.medium.faults import Fault
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import BundleDamaged, MalformedRecord, UnsupportedVersion

_NEWER = "of an artefact of a newer release"
_DAMAGED = "of an artefact whose manifest is damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedArtifact:
    """An artefact of the bundle that is not whole."""

    digest: Digest
    """Identity of the artefact."""
    label: str
    """Its reference, or its digest where its record is damaged."""
    reasons: tuple[str, ...]
    """What of it is damaged, a sentence each that names the volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """The artefacts of a bundle, and which of its blobs are their files."""

    artifacts: tuple[tuple[Artifact, Manifest], ...]
    """Those that this release reads, in the order of the index."""
    files: tuple[BlobPieces, ...]
    """Their blobs that are neither record nor manifest, in the order of the medium."""
    assumed: tuple[Assumed, ...]
    """Their files that the bundle leaves out."""
    labels: Mapping[Digest, str]
    """What people call a file blob: ``org/name config.json``."""
    left_out: tuple[str, ...]
    """Artefacts that only a newer release reads, one sentence each."""
    damaged: tuple[DamagedArtifact, ...] = ()
    """Artefacts whose record or manifest is damaged on the medium."""

    def without(self, lost: AbstractSet[Digest]) -> "Cargo":
        """Return the cargo without some artefacts, named by their digests, and their files."""
        artifacts = tuple(pair for pair in self.artifacts if pair[0].digest not in lost)
        wanted = {file.digest for _, manifest in artifacts for file in manifest.files}
        return replace(
            self,
            artifacts=artifacts,
            files=tuple(blob for blob in self.files if blob.digest in wanted),
            assumed=tuple(blob for blob in self.assumed if blob.digest in wanted),
        )


def read_cargo(bundle: VerifiedBundle, *, faults: Sequence[Fault] | None = None) -> Cargo:
    """Return what the bundle carries.

    Args:
        bundle: Signed and sound.
        faults: What is known to be wrong with its carriers. Damage of one artefact's record or
            manifest is no error then: it is named in ``damaged``, and the others are read. None
            to refuse all for the damage of one.

    Raises:
        BundleDamaged: Records or manifests are damaged on the medium.
        MalformedRecord: They are as signed, but contradict each other or the index;
            ``issues`` lists every contradiction.
        StorageError: The medium refuses.
    """
    index = bundle.index
    lost = {fault.carrier: fault.message for fault in faults or () if not fault.usable}
    found = _Contents(bundle, {blob.digest: blob for blob in index.blobs}, lost)
    for entry in index.artifacts:
        found.read(entry)
    if found.damage and faults is None:
        raise BundleDamaged(
            f"{bundle.folder}: records or manifests are damaged",
            hint="copy the files named here again from where the bundle was exported",
            issues=(reason for item in found.damage for reason in item.reasons),
        )
    issues = [*found.issues, *_contradictions(index, found)]
    if issues:
        raise MalformedRecord(
            f"{bundle.folder}: signed, but its parts contradict each other",
            hint="do not import it; report this to the publisher",
            issues=issues,
        )
    wanted = {file.digest for _, manifest in found.artifacts for file in manifest.files}
    wanted -= {digest for pair in found.artifacts for digest in (pair[0].digest, pair[1].digest)}
    unknown = found.blobs.keys() - _own(index) if found.opaque or found.damage else ()
    return Cargo(
        artifacts=tuple(found.artifacts),
        files=tuple(blob for blob in index.blobs if blob.digest in wanted),
        assumed=tuple(blob for blob in index.assumed if blob.digest in wanted),
        labels={**dict.fromkeys(unknown, _NEWER if found.opaque else _DAMAGED), **found.labels},
        left_out=tuple(found.left_out),
        damaged=tuple(found.damage),
    )


def _own(index: Index) -> set[Digest]:
    """Return the digests of all records and manifests."""
    return {digest for entry in index.artifacts for digest in (entry.record, entry.manifest)}


@dataclass(slots=True)
class _Contents:
    """Records and manifests as they are read, and everything that is wrong with them."""

    bundle: VerifiedBundle
    blobs: Mapping[Digest, BlobPieces]
    lost: Mapping[int | None, str]
    """Carriers of which nothing can be read, with the reason."""
    artifacts: list[tuple[Artifact, Manifest]] = field(default_factory=list)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    labels: dict[Digest, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    opaque: bool = False
    """Whether a manifest could not be read: its files cannot be told from foreign blobs."""
    issues: list[str] = field(default_factory=list)
    damage: list[DamagedArtifact] = field(default_factory=list)

    def read(self, entry: Entry) -> None:
        """Read one artefact, or note why not."""
        name = f"artefact {entry.record}"
        try:
            artifact, newer = self._artifact(entry)
            name = artifact.label if artifact else name
            manifest, newer_manifest = self._manifest(entry)
        except BundleDamaged as error:
            known = error.message in self.lost.values()
            reason = error.message if known else f"{name}: {error.message}"
            self.damage.append(DamagedArtifact(digest=entry.record, label=name, reasons=(reason,)))
            return
        except MalformedRecord as error:
            self.issues.append(f"{name}: {error.message}")
            return
        for file in manifest.files if manifest else ():
            self.labels.setdefault(file.digest, f"{name} {file.path}")
        if artifact is None or manifest is None:
            self.left_out.append(f"{name}: {newer or newer_manifest}")
            return
        if artifact.manifest != entry.manifest:
            self.issues.append(f"{name}: its record names another manifest")
        self.artifacts.append((artifact, manifest))

    def _artifact(self, entry: Entry) -> tuple[Artifact | None, str]:
        """Return the record, or why only a newer release reads it."""
        try:
            return Artifact.parse(self._read(entry.record)), ""
        except UnsupportedVersion as error:
            return None, error.message

    def _manifest(self, entry: Entry) -> tuple[Manifest | None, str]:
        """Return the manifest, or why only a newer release reads it."""
        try:
            if entry.manifest not in self.manifests:
                self.manifests[entry.manifest] = Manifest.parse(self._read(entry.manifest))
        except UnsupportedVersion as error:
            self.opaque = True
            return None, error.message
        return self.manifests[entry.manifest], ""

    def _read(self, digest: Digest) -> bytes:
        blob = self.blobs[digest]
        for piece in blob.pieces:
            if piece.carrier in self.lost:
                raise BundleDamaged(self.lost[piece.carrier])
        return self.bundle.read_blob(blob)


def _contradictions(index: Index, found: _Contents) -> list[str]:
    """Return every breach of rules 6 and 7."""
    sizes = {blob.digest: blob.size for blob in index.blobs}
    assumed = {blob.digest: blob.size for blob in index.assumed}
    issues = [
        f"{artifact.label} {file.path}: not in the bundle with this size"
        for artifact, manifest in found.artifacts
        for file in manifest.files
        if sizes.get(file.digest, assumed.get(file.digest)) != file.size
    ]
    if found.opaque or found.damage:  # what others' manifests ask for is not known
        return issues
    own = _own(index)
    issues += [
        f"blob {digest}: belongs to no artefact"
        for digest in (*sizes, *assumed)
        if digest not in found.labels and digest not in own
    ]
    return issues
