"""What a converter made becomes an artefact; one made before of other options gives way."""

from collections.abc import Mapping
from pathlib import Path

from modelvault import fsio
from modelvault.app.supersede import Superseded, artifacts_under, dependents, forget
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.core import canonical
from modelvault.core.artifact import Artifact, ConversionOrigin
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.model_files import is_license, is_model_card
from modelvault.core.protocol import Produced
from modelvault.errors import BadPath, ConverterCrashed, MalformedRecord
from modelvault.store.blobs import BlobFile
from modelvault.store.hashing import hash_file

OPTIONS = "options"
"""Parameter of the lineage: the options that shaped the result, as canonical JSON."""


def encode_options(shaping: Mapping[str, str]) -> str:
    """Return what the lineage says of the options that shaped a result."""
    return canonical.encode(dict(shaping)).decode()


def record_result(
    vault: Vault,
    parent: Artifact,
    converter: str,
    produced: Produced,
    folder: Path,
    *,
    shaping: Mapping[str, str] | None = None,
) -> Artifact:
    """Take the result into the store and catalogue it.

    Args:
        vault: The vault; its store is being written to.
        parent: What was converted.
        converter: Name of the converter.
        produced: What it reported.
        folder: Where its files are.
        shaping: Options that shaped the result; None for a conversion without options.

    Raises:
        ConverterCrashed: The report names unusable files, or does not fit a record.
        StorageError: The disk is full or refuses.
    """
    manifest = _take(vault, parent, produced, folder)
    options = {} if shaping is None else {OPTIONS: encode_options(shaping)}
    artifact = Artifact(
        model=parent.model,
        revision=parent.revision,
        variant=produced.target,
        format=produced.format,
        quantization=produced.quantization,
        manifest=manifest.digest,
        license=parent.license,
        card=parent.card,
        origin=ConversionOrigin(
            parent=parent.digest,
            parent_manifest=parent.manifest,
            converter=converter,
            tools=dict(produced.tools),
            parameters={**produced.parameters, **options},
        ),
    )
    try:
        Artifact.parse(artifact.encode())
    except MalformedRecord as error:
        raise ConverterCrashed(f"the converter's report fits no record: {error}") from error
    vault.keep(artifact, manifest)
    details = {
        "artifact": str(artifact.digest),
        "parent": str(parent.digest),
        "bytes": str(manifest.size),
    }
    event = Event(verb="convert", subject=artifact.label, details=details)
    vault.catalog.add_artifact(artifact, manifest, event=event)
    return artifact


def _take(vault: Vault, parent: Artifact, produced: Produced, folder: Path) -> Manifest:
    """Move the files into the store, beside the parent's licence; return their manifest.

    Hashing takes long, moving does not: until all is hashed the folder stays whole, so that a
    run that is killed meanwhile can be gone on from.
    """
    entries = [
        entry
        for entry in vault.manifest(parent).files
        if "/" not in entry.path and (is_license(entry.path) or is_model_card(entry.path))
    ]
    found: list[tuple[Path, BlobFile]] = []
    try:
        for name in produced.files:
            path = fsio.safe_join(folder, name)
            if not fsio.is_regular(path):
                raise ConverterCrashed(f"the converter reported an unusable file: {name}")
            digest, size = hash_file(path)
            found.append((path, BlobFile(digest=digest, size=size)))
            entries.append(FileEntry(path=name, digest=digest, size=size))
        manifest = Manifest.of(entries)
    except BadPath as error:
        raise ConverterCrashed(f"the converter reported an unusable file: {error}") from error
    for path, blob in found:
        vault.store.take_hashed(path, blob)
    return manifest


def replace_earlier(vault: Vault, artifact: Artifact) -> Superseded:
    """Forget what the same converter made before under the reference of a new artefact.

    One reference means one artefact, the newest: an older one could not be named any more.
    It stays where something depends on it. The caller keeps ``gc`` away; ``drop_records``
    follows when it no longer does.
    """
    removed: list[Artifact] = []
    notes: list[str] = []
    for old in _earlier(vault, artifact):
        reason = ", ".join(dependents(vault, old)) or forget(vault, old, artifact)
        if reason is None:
            removed.append(old)
            notes.append(f"it replaces the {old.label} made before ({old.digest.short})")
        elif reason:
            notes.append(f"the earlier {old.label} ({old.digest.short}) stays: {reason}")
    return Superseded(removed=tuple(removed), notes=tuple(notes))


def _earlier(vault: Vault, artifact: Artifact) -> list[Artifact]:
    new = artifact.origin
    return [
        old
        for old in artifacts_under(vault, artifact.reference)
        if old.digest != artifact.digest
        and isinstance(old.origin, ConversionOrigin)
        and isinstance(new, ConversionOrigin)
        and old.origin.converter == new.converter
    ]
