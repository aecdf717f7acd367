"""The one GGUF file of an artefact, for the runtimes that load a single file."""

import re

from modelvault.core.artifact import Artifact
from modelvault.core.gguf import Header, read_header
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.model_files import WeightFormat, is_license, parse_shard, weight_format
from modelvault.errors import MalformedWeights, UnsuitableArtifact
from modelvault.store.blobs import Store

_LARGEST_LICENSE = 1024 * 1024
_MOST_LICENSES = 8


def find_gguf(artifact: Artifact, manifest: Manifest, *, runtime: str) -> FileEntry:
    """Return the only GGUF file of an artefact.

    Args:
        artifact: What is installed.
        manifest: Its files.
        runtime: The runtime's name, for messages.

    Raises:
        UnsuitableArtifact: No GGUF, several, or one split into parts.
    """
    found = [entry for entry in manifest.files if weight_format(entry.path) is WeightFormat.GGUF]
    if not found:
        raise UnsuitableArtifact(
            f"{artifact.label} is {artifact.format}, and {runtime} loads GGUF",
            hint=f"modelvault convert {artifact.label} --to gguf:Q4_K_M",
        )
    if any(parse_shard(entry.path) for entry in found):
        raise _split(artifact, runtime, len(found))
    if len(found) > 1:
        raise UnsuitableArtifact(
            f"{artifact.label} holds {len(found)} GGUF files, and {runtime} takes one",
            hint=f"pull one of them: modelvault pull {artifact.model} --include '*Q4_K_M.gguf'",
            issues=[entry.path for entry in found],
        )
    return found[0]


def read_gguf(artifact: Artifact, entry: FileEntry, store: Store, *, runtime: str) -> Header:
    """Return the header of an artefact's GGUF, from the store.

    Raises:
        UnsuitableArtifact: It is one part of several, or names no architecture.
        MalformedWeights: It does not parse.
        BlobMissing: The store lacks it.
    """
    try:
        with store.open_blob(entry.digest) as file:
            header = read_header(file, entry.size)
    except MalformedWeights as error:
        raise MalformedWeights(f"{entry.path}: {error.message}", hint=error.hint) from error
    if header.parts > 1:
        raise _split(artifact, runtime, header.parts)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", header.architecture):
        raise UnsuitableArtifact(
            f"{entry.path}: the GGUF names no architecture", hint="pull a complete GGUF"
        )
    return header


def find_licenses(manifest: Manifest) -> tuple[FileEntry, ...]:
    """Return the licence texts that the model carries beside its weights, in order."""
    found = [
        entry
        for entry in manifest.files
        if "/" not in entry.path and is_license(entry.path) and 0 < entry.size <= _LARGEST_LICENSE
    ]
    return tuple(found[:_MOST_LICENSES])


def _split(artifact: Artifact, runtime: str, parts: int) -> UnsuitableArtifact:
    return UnsuitableArtifact(
        f"{artifact.label} is split into {parts} GGUF files, and {runtime} takes one",
        hint=f"make one of them: modelvault gguf merge {artifact.label}",
    )
