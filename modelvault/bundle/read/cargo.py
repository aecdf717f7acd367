"""What a verified bundle says it carries: artefacts with manifests, checked as one.

Applies rules 5 to 7 of ``docs/formats/bundle.md``: records name their manifests, every
file is there, and nothing travels that no artefact asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.bundle.format.index import BlobPieces, Index
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import BundleDamaged, MalformedRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """The artefacts of a bundle, and which of its blobs are files."""

    artifacts: tuple[tuple[Artifact, Manifest], ...]
    """In the order of the index."""
    files: tuple[BlobPieces, ...]
    """Blobs that are neither record nor manifest, in the order of the medium."""
    labels: Mapping[Digest, str]
    """What people call a file blob: ``org/name config.json``."""


def read_cargo(bundle: VerifiedBundle) -> Cargo:
    """Return what the bundle carries.

    Raises:
        BundleDamaged: Records or manifests are damaged on the medium.
        MalformedRecord: They are as signed, but contradict each other or the index;
            ``issues`` lists every contradiction.
        StorageError: The medium refuses.
    """
    index = bundle.index
    blobs = {blob.digest: blob for blob in index.blobs}
    manifests: dict[Digest, Manifest] = {}
    artifacts: list[tuple[Artifact, Manifest]] = []
    issues: list[str] = []
    damage: list[str] = []
    for entry in index.artifacts:
        try:
            artifact = Artifact.parse(bundle.read_blob(blobs[entry.record]))
            if entry.manifest not in manifests:
                data = bundle.read_blob(blobs[entry.manifest])
                manifests[entry.manifest] = Manifest.parse(data)
        except BundleDamaged as error:
            damage.append(f"artefact {entry.record}: {error.message}")
            continue
        except MalformedRecord as error:
            issues.append(f"artefact {entry.record}: {error.message}")
            continue
        if artifact.manifest != entry.manifest:
            issues.append(f"{artifact.label}: its record names another manifest")
        artifacts.append((artifact, manifests[entry.manifest]))
    if damage:
        raise BundleDamaged(
            f"{bundle.folder}: records or manifests are damaged",
            hint="copy the files named here again from where the bundle was exported",
            issues=damage,
        )
    labels = _label(artifacts)
    issues += _contradictions(index, artifacts, labels)
    if issues:
        raise MalformedRecord(
            f"{bundle.folder}: signed, but its parts contradict each other",
            hint="do not import it; report this to the publisher",
            issues=issues,
        )
    own = {digest for entry in index.artifacts for digest in (entry.record, entry.manifest)}
    return Cargo(
        artifacts=tuple(artifacts),
        files=tuple(blob for blob in index.blobs if blob.digest not in own),
        labels=labels,
    )


def _label(artifacts: list[tuple[Artifact, Manifest]]) -> dict[Digest, str]:
    labels: dict[Digest, str] = {}
    for artifact, manifest in artifacts:
        for file in manifest.files:
            labels.setdefault(file.digest, f"{artifact.label} {file.path}")
    return labels


def _contradictions(
    index: Index,
    artifacts: list[tuple[Artifact, Manifest]],
    labels: Mapping[Digest, str],
) -> list[str]:
    """Return every breach of rules 6 and 7."""
    sizes = {blob.digest: blob.size for blob in index.blobs}
    assumed = {blob.digest: blob.size for blob in index.assumed}
    issues = [
        f"{artifact.label} {file.path}: not in the bundle with this size"
        for artifact, manifest in artifacts
        for file in manifest.files
        if sizes.get(file.digest, assumed.get(file.digest)) != file.size
    ]
    own = {digest for entry in index.artifacts for digest in (entry.record, entry.manifest)}
    issues += [
        f"blob {digest}: belongs to no artefact"
        for digest in (*sizes, *assumed)
        if digest not in labels and digest not in own
    ]
    return issues
