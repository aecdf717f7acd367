"""``verify``: re-hash what the vault holds, and the event log's chain."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from modelvault.app.records import Unknown, find_unknown
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.app.whole import whole_task
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.names import AnyReference, DigestStart
from modelvault.core.ports import Progress
from modelvault.errors import BlobMissing, Corruption, UnsupportedVersion
from modelvault.store.gc import find_garbage

_log = logging.getLogger(__name__)

TASK = "verify"
"""The task under which bytes are reported: one for all, so that its end can be foretold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was checked and found intact."""

    artifacts: tuple[Artifact, ...]
    blobs: int
    size: int
    """Bytes re-hashed."""
    unsupported: tuple[str, ...]
    """What was not checked because a newer release wrote it, one sentence each."""
    events: int | None
    """Events whose chain was recomputed; None when only some artefacts were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blob:
    size: int
    owner: str


@timed(_log, "verify")
def verify(vault: Vault, references: Sequence[AnyReference], progress: Progress) -> Verified:
    """Re-hash every blob of the artefacts; with no reference, of all, and check the log.

    A damaged blob is moved to quarantine, so that the next pull or import of the model
    brings back exactly what is missing.

    Raises:
        ArtifactNotFound: A reference names nothing.
        UnsupportedVersion: A reference names an artefact of a newer release.
        Corruption: Blobs are damaged or missing, or the log was altered; ``issues`` names
            each with the artefact and path it belongs to.
        VaultBusy: Another process is writing, and the store holds what the catalogue does not.
    """
    catalog = vault.catalog
    if references:
        artifacts = tuple(catalog.find(reference).artifact for reference in references)
    else:
        artifacts = tuple(item.artifact for item in catalog.artifacts())
    issues: list[str] = []
    skipped = {
        item.digest: f"{item.label}: {item.reason}: not checked"
        for item in (() if references else catalog.unsupported())
    }
    checked = 0
    size = 0
    with vault.store.writing():
        blobs = _blobs(vault, artifacts, issues, skipped)
        with whole_task(progress, TASK, total=sum(blob.size for blob in blobs.values())) as whole:
            for digest, blob in blobs.items():
                try:
                    with whole.part(blob.size) as part:
                        vault.store.check(digest, blob.size, progress=part)
                    checked, size = checked + 1, size + blob.size
                except Corruption as error:
                    issues.append(f"{blob.owner}: {error}")
                    _log.warning("%s is damaged or missing: %s", digest, error)
                    if not isinstance(error, BlobMissing):
                        vault.store.condemn(digest, str(error))
    events = None
    newer: list[str] = []
    if not references:
        unknown = _find_unknown(vault)
        issues += [
            f"{line}: not in the catalogue; run 'modelvault rebuild'" for line in unknown.lost
        ]
        newer += [f"{line}: not in the catalogue" for line in unknown.newer]
        events = _verify_history(vault, issues)
    named = zip(references, artifacts)
    subject = " ".join(map(_subject, named)) or "everything"
    catalog.record(
        Event(verb="verify", subject=subject, details={"ok": str(checked), "bad": str(len(issues))})
    )
    if issues:
        raise Corruption(
            f"{len(issues)} of {checked + len(issues)} checks failed",
            hint="damaged blobs are in quarantine: pull or import the model again to restore them",
            issues=issues,
        )
    return Verified(
        artifacts=tuple(item for item in artifacts if item.digest not in skipped),
        blobs=checked,
        size=size,
        unsupported=(*skipped.values(), *newer),
        events=events,
    )


def _subject(named: tuple[AnyReference, Artifact]) -> str:
    """Return what the log calls an artefact: as the user did, but for a digest by its name."""
    reference, artifact = named
    return str(artifact.reference if isinstance(reference, DigestStart) else reference)


def _blobs(
    vault: Vault, artifacts: Sequence[Artifact], issues: list[str], skipped: dict[Digest, str]
) -> dict[Digest, _Blob]:
    """Return every blob the artefacts need; what cannot be read is noted in one of the two."""
    blobs: dict[Digest, _Blob] = {}
    for artifact in artifacts:
        record = artifact.encode()
        label = str(artifact.reference)
        blobs[artifact.digest] = _Blob(size=len(record), owner=f"{label} (record)")
        try:
            manifest = vault.manifest(artifact)
        except UnsupportedVersion as error:
            skipped[artifact.digest] = f"{label}: {error}: not checked"
            continue
        except Corruption as error:
            issues.append(f"{label}: manifest: {error}")
            continue
        blobs[artifact.manifest] = _Blob(size=len(manifest.encode()), owner=f"{label} (manifest)")
        for entry in manifest.files:
            blobs.setdefault(entry.digest, _Blob(size=entry.size, owner=f"{label}: {entry.path}"))
    return blobs


def _find_unknown(vault: Vault) -> Unknown:
    """Return the artefacts in the store that the catalogue has lost."""
    found = _uncataloged(vault)
    if found.lost or found.newer:
        with vault.store.alone():  # another process may have been about to catalogue them
            found = _uncataloged(vault)
    return found


def _uncataloged(vault: Vault) -> Unknown:
    garbage = find_garbage(vault.store.blobs(), vault.catalog.referenced_digests())
    return find_unknown(vault, garbage.blobs)


def _verify_history(vault: Vault, issues: list[str]) -> int:
    try:
        return vault.catalog.verify_history()
    except Corruption as error:
        issues.append(f"event log: {error}")
        return 0
