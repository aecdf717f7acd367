"""The GGUF files of an artefact, for runtimes that load one model, and a projector with it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelvault.core.artifact import Artifact
from modelvault.core.gguf import Header, read_header
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.model_files import (
    WeightFormat,
    is_license,
    is_projector,
    parse_shard,
    weight_format,
)
from modelvault.errors import MalformedWeights, UnsuitableArtifact
from modelvault.store.blobs import Store

PROJECTOR_ARCHITECTURE = "clip"
"""What llama.cpp calls every projector, whatever it projects."""

_LARGEST_LICENSE = 1024 * 1024
_MOST_LICENSES = 8
_RANK = 4
"""``LLAMA_POOLING_TYPE_RANK`` of llama.cpp's ``include/llama.h``."""
_PROJECTOR_TYPES = ("f16", "bf16", "q8_0", "f32")
"""Of several projectors the first of these is taken: f16 runs everywhere and loses nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFiles:
    """What a runtime loads of an artefact."""

    model: FileEntry
    projector: FileEntry | None
    """What maps images or sound into the model's space; None for a model of text."""
    left_out: tuple[str, ...]
    """Paths of projectors that were not chosen."""


def find_gguf(artifact: Artifact, manifest: Manifest, *, runtime: str) -> FileEntry:
    """Return the only GGUF file of an artefact, for a runtime that loads no projector.

    Args:
        artifact: What is installed.
        manifest: Its files.
        runtime: The runtime's name, for messages.

    Raises:
        UnsuitableArtifact: No GGUF, several, one split into parts, or one with a projector.
    """
    files = find_gguf_files(artifact, manifest, runtime=runtime)
    if files.projector is not None:
        raise UnsuitableArtifact(
            f"{artifact.label} has a projector, which {runtime} does not load",
            hint=f"modelvault install {artifact.label} --to ollama, or --to llamacpp",
        )
    return files.model


def find_gguf_files(artifact: Artifact, manifest: Manifest, *, runtime: str) -> GgufFiles:
    """Return the GGUF file of an artefact, and its projector where it has one.

    Args:
        artifact: What is installed.
        manifest: Its files.
        runtime: The runtime's name, for messages.

    Raises:
        UnsuitableArtifact: No GGUF, several, or one split into parts.
    """
    found = [entry for entry in manifest.files if weight_format(entry.path) is WeightFormat.GGUF]
    models = [entry for entry in found if not is_projector(entry.path)]
    projectors = sorted((entry for entry in found if is_projector(entry.path)), key=_preference)
    if not models:
        raise UnsuitableArtifact(
            f"{artifact.label} holds a projector and no model"
            if projectors
            else f"{artifact.label} is {artifact.format}, and {runtime} loads GGUF",
            hint=f"modelvault pull {artifact.model} with its model beside the projector"
            if projectors
            else f"modelvault convert {artifact.label} --to gguf:Q4_K_M",
        )
    if any(parse_shard(entry.path) for entry in models):
        raise _split(artifact, runtime, len(models))
    if len(models) > 1:
        raise UnsuitableArtifact(
            f"{artifact.label} holds {len(models)} GGUF files, and {runtime} takes one",
            hint=f"pull one of them: modelvault pull {artifact.model} --include '*Q4_K_M.gguf'",
            issues=[entry.path for entry in models],
        )
    return GgufFiles(
        model=models[0],
        projector=projectors[0] if projectors else None,
        left_out=tuple(entry.path for entry in projectors[1:]),
    )


def _preference(entry: FileEntry) -> tuple[int, str]:
    parts = re.split(r"[^a-z0-9_]+", entry.path.lower())
    order = [rank for rank, kind in enumerate(_PROJECTOR_TYPES) if kind in parts]
    return (order[0] if order else len(_PROJECTOR_TYPES), entry.path)


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


def check_projector(artifact: Artifact, entry: FileEntry, store: Store, *, runtime: str) -> Header:
    """Return the header of what is called a projector, once it is one.

    Raises:
        UnsuitableArtifact: It is something else.
        MalformedWeights: It does not parse.
        BlobMissing: The store lacks it.
    """
    header = read_gguf(artifact, entry, store, runtime=runtime)
    if header.architecture != PROJECTOR_ARCHITECTURE:
        raise UnsuitableArtifact(
            f"{entry.path}: called a projector, and is a model of architecture "
            f"{header.architecture}",
            hint="pull the model's own projector",
        )
    return header


def is_reranker(header: Header) -> bool:
    """Return whether a model rates texts instead of writing or embedding them."""
    return header.metadata.get(f"{header.architecture}.pooling_type") == _RANK


def refuse_reranker(artifact: Artifact, header: Header, *, runtime: str) -> None:
    """Refuse a model that a runtime has no way to ask, and for which it would answer zeros.

    Raises:
        UnsuitableArtifact: As said.
    """
    if is_reranker(header):
        raise UnsuitableArtifact(
            f"{artifact.label} is a reranker, and {runtime} has no way to ask one",
            hint=f"modelvault install {artifact.label} --to llamacpp --dir DIR, "
            "then serve it with llama-server --reranking",
        )


def is_embedder(header: Header) -> bool:
    """Return whether a model turns texts into vectors, as its pooling tells runtimes."""
    return f"{header.architecture}.pooling_type" in header.metadata and not is_reranker(header)


def find_licenses(manifest: Manifest) -> tuple[FileEntry, ...]:
    """Return the licence texts that the model carries beside its weights, in order."""
    found = [
        entry
        for entry in manifest.files
        if "/" not in entry.path and is_license(entry.path) and 0 < entry.size <= _LARGEST_LICENSE
    ]
    return tuple(found[:_MOST_LICENSES])


def projector_notes(left_out: Sequence[str]) -> tuple[str, ...]:
    """Return what the operator should know of projectors that were not chosen."""
    return (f"further projectors, left out: {', '.join(left_out)}"[:4096],) if left_out else ()


def _split(artifact: Artifact, runtime: str, parts: int) -> UnsuitableArtifact:
    return UnsuitableArtifact(
        f"{artifact.label} is split into {parts} GGUF files, and {runtime} takes one",
        hint=f"make one of them: modelvault gguf merge {artifact.label}",
    )
