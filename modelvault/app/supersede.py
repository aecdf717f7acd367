"""Artefacts under one reference: what a new one takes the place of is forgotten.

Pulling a revision again with more files would leave two artefacts under one reference, the
smaller hidden behind the larger; converting again with other options, the older behind the
newer. The hidden one goes, unless something depends on it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.names import Reference
from modelvault.errors import (
    ArtifactNotFound,
    Corruption,
    TargetConflict,
    UnsupportedVersion,
    VaultBusy,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """Another artefact of the same revision, as pulled."""

    artifact: Artifact
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """What became of the artefacts that a new one takes the place of."""

    removed: tuple[Artifact, ...]
    """Forgotten; their bytes stay until ``gc``."""
    notes: tuple[str, ...]
    """What stays, and why, one sentence each."""


def artifacts_under(vault: Vault, reference: Reference) -> Iterator[Artifact]:
    """Yield the artefacts that the vault holds under one full reference, oldest first.

    Those of a newer release are passed over: they are not this release's to compare or replace.
    """
    for row in vault.catalog.listing():
        if row.reference == reference:
            with contextlib.suppress(UnsupportedVersion):
                yield vault.catalog.artifact(Digest.parse(row.digest)).artifact


def find_siblings(
    vault: Vault, reference: Reference, *, known: Manifest | None = None
) -> tuple[Sibling, ...]:
    """Return what the vault holds under one full reference, oldest first.

    An artefact whose manifest is damaged is passed over: ``verify`` tells of it, and pulling
    it again restores the manifest.

    Args:
        vault: The vault.
        reference: Model, revision and variant.
        known: A manifest that need not be read from the store.
    """
    siblings: list[Sibling] = []
    for artifact in artifacts_under(vault, reference):
        if known is not None and artifact.manifest == known.digest:
            siblings.append(Sibling(artifact=artifact, manifest=known))
            continue
        with contextlib.suppress(Corruption):
            siblings.append(Sibling(artifact=artifact, manifest=vault.manifest(artifact)))
    return tuple(siblings)


def contains(larger: Manifest, smaller: Manifest) -> bool:
    """Return whether every file of ``smaller`` is also in ``larger``."""
    return set(smaller.files) <= set(larger.files)


def supersede(vault: Vault, artifact: Artifact, manifest: Manifest) -> Superseded:
    """Forget the artefacts whose files are all in a new one of the same reference.

    The caller keeps ``gc`` away; ``drop_records`` follows when it no longer does.

    Args:
        vault: The vault.
        artifact: The new artefact, catalogued.
        manifest: Its manifest.
    """
    removed: list[Artifact] = []
    notes: list[str] = []
    for sibling in find_siblings(vault, artifact.reference, known=manifest):
        old = sibling.artifact
        if old.digest == artifact.digest:
            continue
        if not contains(manifest, sibling.manifest):
            notes.append(_hidden(old))
        elif needs := list(dependents(vault, old)):
            notes.append(f"{old.digest.short}, with fewer files, is kept: {', '.join(needs)}")
        elif (reason := forget(vault, old, artifact)) is None:
            removed.append(old)
        elif reason:
            notes.append(f"{old.digest.short} is kept: {reason}")
    return Superseded(removed=tuple(removed), notes=tuple(notes))


def _hidden(old: Artifact) -> str:
    return (
        f"{old.digest.short} holds other files of this revision and is now hidden behind this "
        "one: pull both selections at once to have one artefact"
    )


def forget(vault: Vault, old: Artifact, new: Artifact) -> str | None:
    """Remove an artefact from the catalogue, as another one takes its place.

    Returns:
        None if it was removed; else why it stays, or nothing where another process removed it.
    """
    details = {"artifact": str(old.digest), "superseded_by": str(new.digest)}
    event = Event(verb="supersede", subject=old.label, details=details)
    try:
        vault.catalog.remove_artifact(old.digest, event=event)
    except TargetConflict as error:  # installed by another process this moment
        return error.message
    except ArtifactNotFound:
        return ""
    return None


def dependents(vault: Vault, artifact: Artifact) -> Iterator[str]:
    """Yield why an artefact cannot be forgotten, a clause for each install and each child."""
    for install in vault.catalog.installs(artifact=artifact.digest):
        yield f"installed in {install.install.target} as {install.install.name}"
    for child in vault.catalog.children(artifact.digest):
        yield f"{child.artifact.label} was converted from it"


def drop_records(vault: Vault, removed: tuple[Artifact, ...]) -> None:
    """Remove the records of forgotten artefacts, so that no rebuild brings them back.

    Where another process is writing they stay for ``gc``: it may be recording one of them
    again this very moment.
    """
    if not removed:
        return
    try:
        with vault.store.alone(wait=0.0):
            for artifact in removed:
                try:
                    vault.catalog.artifact(artifact.digest)
                except ArtifactNotFound:
                    if vault.store.has(artifact.digest):
                        vault.store.remove(artifact.digest)
    except VaultBusy:
        return
