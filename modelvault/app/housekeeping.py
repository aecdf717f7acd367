"""``list``, ``show``, ``remove``, ``gc``, ``history`` and ``rebuild``."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.records import Unknown, find_unknown, restorable
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.kept import find_records
from modelvault.catalog.values import CatalogedArtifact, Event, RecordedEvent
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.fields import UPDATE
from modelvault.core.manifest import Manifest
from modelvault.core.names import Reference
from modelvault.errors import CatalogDamaged, CatalogIncomplete, UnsupportedVersion
from modelvault.store.gc import Garbage, find_garbage

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Everything known of one artefact."""

    cataloged: CatalogedArtifact
    manifest: Manifest
    parents: tuple[Artifact, ...]
    """What it was converted from, nearest first, as far as the vault knows it."""
    children: tuple[Artifact, ...]
    """What was converted from it."""


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


def show(vault: Vault, reference: Reference) -> Shown:
    """Return everything known of one artefact.

    Raises:
        ArtifactNotFound: The vault holds none.
    """
    found = vault.catalog.find(reference)
    digest = found.artifact.digest
    return Shown(
        cataloged=found,
        manifest=vault.manifest(found.artifact),
        parents=tuple(item.artifact for item in vault.catalog.parents(digest)),
        children=tuple(item.artifact for item in vault.catalog.children(digest)),
    )


@timed(_log, "remove")
def remove(vault: Vault, reference: Reference) -> Artifact:
    """Forget an artefact; its bytes stay until ``gc``.

    Raises:
        ArtifactNotFound: The vault holds none.
        TargetConflict: It is installed somewhere.
    """
    with vault.store.alone():
        artifact = vault.catalog.find(reference).artifact
        event = Event(
            verb="remove",
            subject=artifact.label,
            details={"artifact": str(artifact.digest), "revision": artifact.revision},
        )
        vault.catalog.remove_artifact(artifact.digest, event=event)
        if vault.store.has(artifact.digest):
            vault.store.remove(artifact.digest)  # else a rebuild would bring it back
    return artifact


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


def history(vault: Vault, reference: Reference | None) -> Iterator[RecordedEvent]:
    """Yield the events of one model or of all, oldest first; the chain is checked first.

    Raises:
        CatalogDamaged: The log was altered.
    """
    vault.catalog.verify_history()
    yield from vault.catalog.history(str(reference) if reference else None)


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
