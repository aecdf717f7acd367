"""What a verified bundle says it carries: artefacts with manifests, checked as one.

Applies rules 5 to 7 of ``docs/formats/bundle.md``: records name their manifests, every
file is there, and nothing travels that no artefact asks for. An artefact whose record or
manifest is of a newer release is left out and named; the others are read as ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelvault.bundle.format.index import Assumed, BlobPieces, Entry, Index
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import BundleDamaged, MalformedRecord, UnsupportedVersion

_NEWER = "of an artefact of a newer release"


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


def read_cargo(bundle: VerifiedBundle) -> Cargo:
    """Return what the bundle carries.

    Raises:
        BundleDamaged: Records or manifests are damaged on the medium.
        MalformedRecord: They are as signed, but contradict each other or the index;
            ``issues`` lists every contradiction.
        StorageError: The medium refuses.
    """
    index = bundle.index
    found = _Contents(bundle, {blob.digest: blob for blob in index.blobs})
    for entry in index.artifacts:
        found.read(entry)
    if found.damage:
        raise BundleDamaged(
            f"{bundle.folder}: records or manifests are damaged",
            hint="copy the files named here again from where the bundle was exported",
            issues=found.damage,
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
    unknown = found.blobs.keys() - _own(index) if found.opaque else ()
    return Cargo(
        artifacts=tuple(found.artifacts),
        files=tuple(blob for blob in index.blobs if blob.digest in wanted),
        assumed=tuple(blob for blob in index.assumed if blob.digest in wanted),
        labels={**dict.fromkeys(unknown, _NEWER), **found.labels},
        left_out=tuple(found.left_out),
    )


def _own(index: Index) -> set[Digest]:
    """Return the digests of all records and manifests."""
    return {digest for entry in index.artifacts for digest in (entry.record, entry.manifest)}


@dataclass(slots=True)
class _Contents:
    """Records and manifests as they are read, and everything that is wrong with them."""

    bundle: VerifiedBundle
    blobs: Mapping[Digest, BlobPieces]
    artifacts: list[tuple[Artifact, Manifest]] = field(default_factory=list)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    labels: dict[Digest, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    opaque: bool = False
    """Whether a manifest could not be read: its files cannot be told from foreign blobs."""
    issues: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    def read(self, entry: Entry) -> None:
        """Read one artefact, or note why not."""
        name = f"artefact {entry.record}"
        try:
            artifact, newer = self._artifact(entry)
            manifest, newer_manifest = self._manifest(entry)
        except BundleDamaged as error:
            self.damage.append(f"{name}: {error.message}")
            return
        except MalformedRecord as error:
            self.issues.append(f"{name}: {error.message}")
            return
        label = artifact.label if artifact else name
        for file in manifest.files if manifest else ():
            self.labels.setdefault(file.digest, f"{label} {file.path}")
        if artifact is None or manifest is None:
            self.left_out.append(f"{label}: {newer or newer_manifest}")
            return
        if artifact.manifest != entry.manifest:
            self.issues.append(f"{label}: its record names another manifest")
        self.artifacts.append((artifact, manifest))

    def _artifact(self, entry: Entry) -> tuple[Artifact | None, str]:
        """Return the record, or why only a newer release reads it."""
        try:
            return Artifact.parse(self.bundle.read_blob(self.blobs[entry.record])), ""
        except UnsupportedVersion as error:
            return None, error.message

    def _manifest(self, entry: Entry) -> tuple[Manifest | None, str]:
        """Return the manifest, or why only a newer release reads it."""
        try:
            if entry.manifest not in self.manifests:
                data = self.bundle.read_blob(self.blobs[entry.manifest])
                self.manifests[entry.manifest] = Manifest.parse(data)
        except UnsupportedVersion as error:
            self.opaque = True
            return None, error.message
        return self.manifests[entry.manifest], ""


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
    if found.opaque:
        return issues
    own = _own(index)
    issues += [
        f"blob {digest}: belongs to no artefact"
        for digest in (*sizes, *assumed)
        if digest not in found.labels and digest not in own
    ]
    return issues
