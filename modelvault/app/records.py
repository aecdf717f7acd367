"""Records of artefacts in the store, as against those in the catalogue."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelvault.app.vault import Vault
from modelvault.catalog.kept import find_records
from modelvault.core.artifact import ARTIFACT_LIMIT, Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import Corruption, MalformedRecord, UnsupportedVersion
from modelvault.store.blobs import BlobFile

_REMOVALS = ("remove", "supersede")
"""Events after which the catalogue no longer holds an artefact."""
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Artefacts in the store that the catalogue does not know, a line each."""

    lost: list[str]
    """Those that a rebuild brings back."""
    newer: list[str]
    """Those that only a newer release reads."""


def find_unknown(vault: Vault, blobs: Iterable[BlobFile]) -> Unknown:
    """Return the artefacts that the catalogue has lost.

    What it forgot on purpose is not among them, though a kill may have left the record.

    Args:
        vault: The vault.
        blobs: Those that nothing in the catalogue refers to.
    """
    newer: dict[Digest, str] = {}
    found = list(restorable(vault, find_records(vault.store, blobs), [], newer))
    forgotten = _forgotten(vault) if found or newer else {}
    return Unknown(
        lost=[
            f"{artifact.reference} ({artifact.digest.short})"
            for artifact, _, kept in found
            if kept > forgotten.get(str(artifact.digest), _NEVER)
        ],
        newer=[
            f"record {digest}: {reason}"
            for digest, reason in newer.items()
            if _kept(vault, digest) > forgotten.get(str(digest), _NEVER)
        ],
    )


def _forgotten(vault: Vault) -> dict[str, dt.datetime]:
    """Return the digests of artefacts that were removed, with the time of the last removal."""
    return {
        event.details.get("artifact", ""): event.time
        for event in vault.catalog.history()
        if event.verb in _REMOVALS
    }


def restorable(
    vault: Vault, records: Iterable[BlobFile], issues: list[str], newer: dict[Digest, str]
) -> Iterator[tuple[Artifact, Manifest, dt.datetime]]:
    """Yield the artefacts of records whose files are all in the store.

    Args:
        vault: The vault.
        records: Blobs that begin like records.
        issues: Takes a line for each record that is damaged or lacks files.
        newer: Takes the records that only a newer release reads, each with the reason.
    """
    for blob in records:
        try:
            artifact = Artifact.parse(vault.store.read(blob.digest, limit=ARTIFACT_LIMIT))
            manifest = vault.manifest(artifact)
            for entry in manifest.files:
                if not vault.store.has(entry.digest, entry.size):
                    raise MalformedRecord(f"file {entry.path} is not in the store")
        except UnsupportedVersion as error:
            newer[blob.digest] = error.message
            continue
        except Corruption as error:
            issues.append(f"record {blob.digest.short}: {error}")
            continue
        yield artifact, manifest, _kept(vault, blob.digest)


def _kept(vault: Vault, digest: Digest) -> dt.datetime:
    """Return when a blob was first kept."""
    modified = vault.store.path(digest).stat().st_mtime
    return dt.datetime.fromtimestamp(modified, dt.UTC)
