"""``import``: bring a bundle into the vault, once its signature is believed.

Order: signature over the raw bytes, then parsing, then policy, serials included, then the
carriers' sizes, then whether a known revision keeps its content, then piece after piece into
the store's partials, and one catalogue transaction last. A refusal leaves the vault as it was;
an interruption leaves partials that the next import continues.
"""

import datetime as dt
import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.conflicts import refuse_bundle_conflicts
from modelvault.app.serials import (
    check_reason,
    judge_age,
    note_imported,
    refuse_expired,
    serial_file,
)
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.bundle.read.bundle import VerifiedBundle, open_bundle
from modelvault.bundle.read.cargo import Cargo
from modelvault.bundle.read.find import find_bundles
from modelvault.bundle.read.receive import import_blobs
from modelvault.catalog.values import Bundle, Direction, Event
from modelvault.core.artifact import Artifact
from modelvault.core.ports import Progress
from modelvault.errors import BundleNotFound
from modelvault.trust.keys import parse_public_keys
from modelvault.trust.policy import Policy, TrustPolicy

_log = logging.getLogger(__name__)

_LATER = "update ModelVault and import the bundle again: what is here is not read twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import brought."""

    folder: Path
    artifacts: tuple[Artifact, ...]
    new: tuple[Artifact, ...]
    """Those the catalogue did not know before."""
    new_bytes: int
    """Bytes read from the medium by this run."""
    skipped_bytes: int
    """Bytes the vault already held."""
    signers: tuple[str, ...]
    """Fingerprints of the trusted keys that signed the bundle."""
    left_out: tuple[str, ...]
    """Artefacts of the bundle that only a newer release reads, one sentence each."""
    warnings: tuple[str, ...]


def choose_bundle(folder: Path | None) -> Path:
    """Return the folder of the bundle to import.

    Args:
        folder: What the user named; None to look at mounted media.

    Raises:
        BundleNotFound: No bundle on any medium, or several to choose from.
    """
    if folder is not None:
        return folder
    found = find_bundles()
    if not found:
        raise BundleNotFound(
            "no bundle on any mounted medium",
            hint="mount the medium, or name the folder: modelvault import DIR",
        )
    if len(found) > 1:
        raise BundleNotFound(
            f"{len(found)} bundles on mounted media",
            hint="name the one to import: modelvault import DIR",
            issues=[str(path) for path in found],
        )
    return found[0]


@timed(_log, "import")
def import_bundle(
    vault: Vault, folder: Path, progress: Progress, *, allow_older: str | None = None
) -> Imported:
    """Import everything of a bundle that this release reads; name the rest.

    Args:
        vault: Where it goes.
        folder: On the medium.
        progress: Told about bytes read.
        allow_older: Why a bundle is taken though its signer sent a newer one, for the log;
            None to refuse it.

    Raises:
        BadOption: The reason is empty, too long or not printable.
        BundleNotFound: There is none in the folder.
        UnsupportedVersion: A newer release wrote the bundle, or every artefact in it.
        TrustError: The signature is not by a trusted key or does not verify, the bundle has
            expired or is an older one, or it gives a known revision another content.
        Corruption: Carriers or contents are not what was signed; ``issues`` names them.
        StorageError: The disk is full, or the medium vanished.
    """
    allow_older = check_reason(allow_older)
    unverified = open_bundle(folder)
    verifier = TrustPolicy(
        (item.key for item in vault.keystore.trusted()),
        Policy(threshold=vault.config.threshold),
        publishers=parse_public_keys(unverified.publisher) if unverified.publisher else (),
        trust_command=vault.command("trust", "add", str(folder)),
        sign_command=shlex.join(("modelvault", "bundle", "sign", str(folder))),
    )
    bundle = unverified.verify(verifier)
    _log.info(
        "%s: index %s, serial %d, signed by %s",
        folder,
        bundle.index_digest,
        bundle.index.serial,
        ", ".join(bundle.verdict.trusted),
    )
    refuse_expired(bundle)
    now = dt.datetime.now(dt.UTC)
    warnings = judge_age(vault, bundle, now, allow_older=allow_older)
    signers = bundle.verdict.trusted

    def accept(cargo: Cargo) -> None:
        refuse_bundle_conflicts(vault, cargo.artifacts, signers)

    with vault.store.writing():
        content = import_blobs(bundle, vault.store, progress, accept=accept)
        with serial_file(vault).lock():
            # Another import may have ended meanwhile.
            judge_age(vault, bundle, now, allow_older=allow_older)
            refuse_bundle_conflicts(vault, content.artifacts, signers)
            note_imported(vault, bundle)
            new = set(
                vault.catalog.add_artifacts(
                    content.artifacts,
                    event=_event(bundle, folder, content.left_out, allow_older),
                    bundle=_bundle(bundle, folder),
                )
            )
    artifacts = tuple(artifact for artifact, _ in content.artifacts)
    return Imported(
        folder=folder,
        artifacts=artifacts,
        new=tuple(artifact for artifact in artifacts if artifact.digest in new),
        new_bytes=content.new_bytes,
        skipped_bytes=content.skipped_bytes,
        signers=bundle.verdict.trusted,
        left_out=content.left_out,
        warnings=(*warnings, *(f"left out: {item}; {_LATER}" for item in content.left_out)),
    )


def _event(
    bundle: VerifiedBundle, folder: Path, left_out: tuple[str, ...], allow_older: str | None
) -> Event:
    return Event(
        verb="import",
        subject=str(bundle.index_digest),
        details={
            "signers": " ".join(bundle.verdict.trusted),
            "serial": str(bundle.index.serial),
            "folder": str(folder),
            **({"left_out": "; ".join(left_out)} if left_out else {}),
            **({"allow_older": allow_older} if allow_older else {}),
        },
    )


def _bundle(bundle: VerifiedBundle, folder: Path) -> Bundle:
    return Bundle(
        index=bundle.index_digest,
        direction=Direction.IMPORTED,
        serial=bundle.index.serial,
        publisher=bundle.verdict.trusted[0],
        layout=bundle.index.layout.name,
        location=str(folder),
        artifacts=tuple(entry.record for entry in bundle.index.artifacts),
    )
