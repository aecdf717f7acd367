"""Records of artefacts in the store, as against those in the catalogue."""

import datetime as dt
from collections.abc import Iterable, Iterator

from modelvault.app.vault import Vault
from modelvault.catalog.kept import find_records
from modelvault.core.artifact import ARTIFACT_LIMIT, Artifact
from modelvault.core.manifest import Manifest
from modelvault.errors import Corruption, MalformedRecord
from modelvault.store.blobs import BlobFile

_REMOVALS = ("remove", "supersede")
"""Events after which the catalogue no longer holds an artefact."""
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


def find_unknown(vault: Vault, blobs: Iterable[BlobFile]) -> list[str]:
    """Return the artefacts that the catalogue has lost, a line each.

    What it forgot on purpose is not among them, though a kill may have left the record.

    Args:
        vault: The vault.
        blobs: Those that nothing in the catalogue refers to.
    """
    found = list(restorable(vault, find_records(vault.store, blobs), issues=[]))
    forgotten = _forgotten(vault) if found else {}
    return [
        f"{artifact.reference} ({artifact.digest.short})"
        for artifact, _, kept in found
        if kept > forgotten.get(str(artifact.digest), _NEVER)
    ]


def _forgotten(vault: Vault) -> dict[str, dt.datetime]:
    """Return the digests of artefacts that were removed, with the time of the last removal."""
    return {
        event.details.get("artifact", ""): event.time
        for event in vault.catalog.history()
        if event.verb in _REMOVALS
    }


def restorable(
    vault: Vault, records: Iterable[BlobFile], issues: list[str]
) -> Iterator[tuple[Artifact, Manifest, dt.datetime]]:
    """Yield the artefacts of records whose files are all in the store; the others are issues."""
    for blob in records:
        try:
            artifact = Artifact.parse(vault.store.read(blob.digest, limit=ARTIFACT_LIMIT))
            manifest = vault.manifest(artifact)
            for entry in manifest.files:
                if not vault.store.has(entry.digest, entry.size):
                    raise MalformedRecord(f"file {entry.path} is not in the store")
        except Corruption as error:
            issues.append(f"record {blob.digest.short}: {error}")
            continue
        modified = vault.store.path(blob.digest).stat().st_mtime
        yield artifact, manifest, dt.datetime.fromtimestamp(modified, dt.UTC)
