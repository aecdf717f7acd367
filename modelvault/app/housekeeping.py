"""``show``, ``remove``, ``gc`` and ``rebuild``."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.left_out import LeftOutGroup, recall_left_out
from modelvault.app.records import Unknown, find_unknown, restorable
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.kept import find_records
from modelvault.catalog.values import CatalogedArtifact, Event
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.fields import UPDATE
from modelvault.core.manifest import Manifest
from modelvault.core.names import AnyReference
from modelvault.errors import (
    ArtifactNotFound,
    BadReference,
    CatalogDamaged,
    CatalogIncomplete,
    UnsupportedVersion,
)
from modelvault.store.gc import Garbage, find_garbage

_log = logging.getLogger(__name__)

_MOST_LISTED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Everything known of one artefact."""

    cataloged: CatalogedArtifact
    manifest: Manifest
    parents: tuple[Artifact, ...]
    """What it was converted from, nearest first, as far as the vault knows it."""
    children: tuple[Artifact, ...]
    """What was converted from it."""
    left_out: tuple[LeftOutGroup, ...]
    """What the pull that brought it left out, as far as the log remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was forgotten, or would be."""

    artifacts: tuple[Artifact, ...]
    freed: int
    """Bytes of files that nothing else needs; ``gc`` frees them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What garbage collection removed, or would remove."""

    garbage: Garbage
    leftovers: tuple[Path, ...]
    """Temporary files and abandoned partials."""
    leftover_size: int
    """Bytes of ``leftovers``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild found in the store."""

    artifacts: tuple[Artifact, ...]
    set_aside: Path | None
    """Where an unreadable catalogue was moved."""
    issues: tuple[str, ...]
    """Records that could not be restored, and what is wrong with the event log."""
    unsupported: tuple[Digest, ...]
    """Records that only a newer release can restore; what the catalogue knew of them stays."""


def show(vault: Vault, reference: AnyReference) -> Shown:
    """Return everything known of one artefact.

    Raises:
        ArtifactNotFound: The vault holds none.
        BadReference: The start of a digest fits several artefacts.
    """
    found = vault.catalog.find(reference)
    digest = found.artifact.digest
    return Shown(
        cataloged=found,
        manifest=vault.manifest(found.artifact),
        parents=tuple(item.artifact for item in vault.catalog.parents(digest)),
        children=tuple(item.artifact for item in vault.catalog.children(digest)),
        left_out=recall_left_out(vault, found.artifact),
    )


@timed(_log, "remove")
def remove(vault: Vault, *references: AnyReference, dry_run: bool = False) -> Removed:
    """Forget artefacts, all or none; their bytes stay until ``gc``.

    Args:
        vault: The vault.
        *references: Each has to fit one artefact alone: a name that several bear is no order.
        dry_run: Only say what would be removed.

    Raises:
        ArtifactNotFound: The vault holds none; ``issues`` says of which, where it is several.
        BadReference: A reference fits several artefacts; ``issues`` lists them.
        TargetConflict: Some are installed somewhere; ``issues`` says where.
    """
    if dry_run:
        artifacts = _choose_removed(vault, references)
        vault.catalog.refuse_installed([item.digest for item in artifacts])
        return Removed(artifacts=artifacts, freed=_freed_by(vault, artifacts))
    with vault.store.alone():
        artifacts = _choose_removed(vault, references)
        removed = Removed(artifacts=artifacts, freed=_freed_by(vault, artifacts))
        vault.catalog.remove_artifacts((item.digest, _removal(item)) for item in artifacts)
        for artifact in artifacts:
            if vault.store.has(artifact.digest):
                vault.store.remove(artifact.digest)  # else a rebuild would bring it back
    return removed


def _choose_removed(vault: Vault, references: Sequence[AnyReference]) -> tuple[Artifact, ...]:
    """Return what the references name, each artefact once.

    Raises:
        ArtifactNotFound: One names nothing.
        BadReference: One fits several artefacts.
    """
    chosen: dict[Digest, Artifact] = {}
    refused: list[ArtifactNotFound | BadReference] = []
    for reference in references:
        try:
            found = vault.catalog.find_all(reference)
            if len(found) > 1:
                raise _fits_several(vault, reference, found)
        except (ArtifactNotFound, BadReference) as error:
            refused.append(error)
        else:
            chosen[found[0].digest] = found[0].artifact
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise type(refused[0])(
            f"{len(refused)} of {len(references)} references name no artefact to remove",
            hint=refused[0].hint,
            issues=[issue for error in refused for issue in (error.message, *error.issues)],
        )
    return tuple(chosen.values())


def _fits_several(
    vault: Vault, reference: AnyReference, found: Sequence[CatalogedArtifact]
) -> BadReference:
    """Return the question which artefact is meant, with the command for each."""
    commands = [vault.command("remove", item.digest.short) for item in found[:_MOST_LISTED]]
    return BadReference(
        f"{reference} fits {len(found)} artefacts",
        hint="name the one that is meant by its digest, or the start of it: " + commands[-1],
        issues=[
            f"{command}  ({', '.join((str(item.artifact.reference), *item.labels))},"
            f" added {item.created_at:%Y-%m-%d})"
            for command, item in zip(commands, found)
        ],
    )


def _freed_by(vault: Vault, artifacts: Sequence[Artifact]) -> int:
    return vault.catalog.freed_by([item.digest for item in artifacts])


def _removal(artifact: Artifact) -> Event:
    return Event(
        verb="remove",
        subject=artifact.label,
        details={"artifact": str(artifact.digest), "revision": artifact.revision},
    )


@timed(_log, "gc")
def collect_garbage(vault: Vault, *, dry_run: bool, partials: bool) -> Collected:
    """Remove blobs that no artefact refers to, and what crashes left behind.

    Args:
        vault: The vault; no other process may be writing.
        dry_run: Only say what would be removed.
        partials: Also drop unfinished downloads, imports and conversions.

    Raises:
        CatalogIncomplete: Records in the store are of artefacts that the catalogue does not
            know; nothing was removed.
        UnsupportedVersion: Some are of a newer release: nobody here can tell which blobs they
            need; nothing was removed.
        VaultBusy: Another process is writing.
    """
    store = vault.store
    with store.alone():
        referenced = vault.catalog.referenced_digests()
        garbage = find_garbage(store.blobs(), referenced)
        _refuse_unknown(find_unknown(vault, garbage.blobs))
        leftovers = tuple(store.leftovers(partials=partials, referenced=referenced))
        size = sum(_size(path) for path in leftovers)
        _log.info(
            "%d blobs of %d bytes and %d leftovers of %d bytes are garbage%s",
            len(garbage.blobs),
            garbage.size,
            len(leftovers),
            size,
            "; dry run" if dry_run else "",
        )
        if not dry_run:
            for blob in garbage.blobs:
                store.remove(blob.digest)
            store.clear(leftovers)
            vault.catalog.record(
                Event(
                    verb="gc",
                    subject="store",
                    details={"blobs": str(len(garbage.blobs)), "bytes": str(garbage.size + size)},
                )
            )
    return Collected(garbage=garbage, leftovers=leftovers, leftover_size=size)


def _refuse_unknown(unknown: Unknown) -> None:
    if unknown.lost:
        raise CatalogIncomplete(
            f"the store holds {len(unknown.lost)} artefacts that the catalogue does not know",
            hint="run 'modelvault rebuild' to bring them back; then remove what is not wanted",
            issues=unknown.lost[:100],
        )
    if unknown.newer:
        raise UnsupportedVersion(
            "the store holds records of a newer release: what they need cannot be told apart",
            hint="run 'rebuild' and 'gc' with the newer release",
            issues=unknown.newer[:100],
        )


def _size(path: Path) -> int:
    with fsio.every_error(path):
        if path.is_dir():
            return sum(item.lstat().st_size for item in path.rglob("*") if item.is_file())
        return path.lstat().st_size


@timed(_log, "rebuild")
def rebuild(vault: Vault) -> Rebuilt:
    """Restore the catalogue from the artefact records in the store.

    Another vault's catalogue, and one that cannot be read, is set aside where it is a file.

    Raises:
        VaultBusy: Another process is writing.
    """
    with vault.store.alone():
        issues: list[str] = []
        vault.allow_new_catalog()
        set_aside = _open_or_set_aside(vault, issues)
        newer: dict[Digest, str] = {}
        records = list(restorable(vault, find_records(vault.store), issues, newer))
        issues += [
            f"record {digest.short}: {reason} ({UPDATE})" for digest, reason in newer.items()
        ]
        event = Event(verb="rebuild", subject="catalog", details={"artifacts": str(len(records))})
        vault.catalog.rebuild(records, event=event, keep=frozenset(newer))
    return Rebuilt(
        artifacts=tuple(record[0] for record in records),
        set_aside=set_aside,
        issues=tuple(issues),
        unsupported=tuple(newer),
    )


def _open_or_set_aside(vault: Vault, issues: list[str]) -> Path | None:
    """Open the catalogue; move a file that is no database aside and return where it is.

    A readable catalogue whose event log was altered is kept: the log is evidence.
    """
    from modelvault.catalog.schema import set_aside_damaged

    try:
        catalog = vault.catalog
    except CatalogDamaged:
        if vault.config.database_url:
            raise
        return set_aside_damaged(vault.store.paths)
    try:
        catalog.verify_history()
    except CatalogDamaged as error:
        issues.append(f"event log: {error}")
    return None
