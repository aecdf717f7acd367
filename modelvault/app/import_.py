"""``import``: bring a bundle into the vault, once its signature is believed.

Order: signature over the raw bytes, then parsing, then policy, serials included, then the
carriers' sizes, then whether a known revision keeps its content, then piece after piece into
the store's partials, and one catalogue transaction last. Damage costs the artefacts that it is
in; the others are taken. The catalogue is as it was after any error. What a failed import
leaves on the disk, the next one goes on with, and its message says how much that is.
"""

import contextlib
import datetime as dt
import logging
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.conflicts import refuse_bundle_conflicts
from modelvault.app.model_signatures import keep_from_bundle
from modelvault.app.refusals import logs_refusals
from modelvault.app.serials import (
    check_reason,
    judge_age,
    note_imported,
    refuse_expired,
    serial_file,
)
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.bundle.read.bundle import UnverifiedBundle, VerifiedBundle, open_bundle
from modelvault.bundle.read.cargo import Cargo, DamagedArtifact
from modelvault.bundle.read.find import find_bundles
from modelvault.bundle.read.receive import (
    COPY_AGAIN,
    ImportedBundle,
    count_unused,
    import_blobs,
)
from modelvault.catalog.values import Bundle, Direction, Event
from modelvault.core.artifact import Artifact
from modelvault.core.medium import PUBLISHER_KEY
from modelvault.core.ports import Progress
from modelvault.errors import BundleDamaged, BundleNotFound, KeyUnusable, ModelVaultError
from modelvault.trust.keys import PublicKey, parse_public_keys
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
    damaged: tuple[DamagedArtifact, ...]
    """Artefacts of the bundle that are damaged on the medium and were not taken."""
    faults: tuple[str, ...]
    """All that is wrong with the bundle's files, a sentence each that begins with the name."""
    unused: int
    """Bytes that are kept of damaged artefacts, for an import of the mended bundle."""
    warnings: tuple[str, ...]

    def raise_damage(self) -> None:
        """Raise what was damaged, if anything was; what was whole has been taken.

        Raises:
            BundleDamaged: ``issues`` names each artefact that was not taken, with the volumes.
        """
        if not self.damaged and not self.faults:
            return
        issues = [
            reason if reason.startswith(item.label) else f"{item.label}: {reason}"
            for item in self.damaged
            for reason in item.reasons
        ]
        known = {reason for item in self.damaged for reason in item.reasons}
        issues += [fault for fault in self.faults if fault not in known]
        total = len(self.artifacts) + len(self.damaged)
        raise BundleDamaged(
            f"{self.folder}: {len(self.damaged)} of {total} artefacts are damaged and were not"
            f" taken: {issues[0]}",
            hint=f"{COPY_AGAIN}, then import it again: only what is missing is read"
            + _left(self.unused),
            issues=issues,
        )


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


def _about(folder: Path, *_: object, **__: object) -> str:
    return str(folder)


@timed(_log, "import")
@logs_refusals("import", about=_about)
def import_bundle(
    vault: Vault, folder: Path, progress: Progress, *, allow_older: str | None = None
) -> Imported:
    """Import everything of a bundle that is whole and that this release reads; name the rest.

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
        Corruption: No artefact is as it was signed, or the catalogue is damaged; ``issues``
            names what is wrong.
        StorageError: The disk is full, the medium vanished, or the catalogue cannot be written.
    """
    allow_older = check_reason(allow_older)
    unverified = open_bundle(folder)
    publishers, notes = _publishers(unverified)
    verifier = TrustPolicy(
        (item.key for item in vault.keystore.trusted()),
        Policy(threshold=vault.config.threshold),
        publishers=publishers,
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
    warnings = (*notes, *judge_age(vault, bundle, now, allow_older=allow_older))
    signers = bundle.verdict.trusted

    def accept(cargo: Cargo) -> None:
        refuse_bundle_conflicts(vault, cargo.artifacts, signers)

    with vault.store.writing(), _telling_what_is_left(vault, bundle):
        content = import_blobs(bundle, vault.store, progress, accept=accept, whole=False)
        warnings += keep_from_bundle(vault, bundle.folder, content.artifacts, signers)
        with serial_file(vault).lock():
            # Another import may have ended meanwhile.
            judge_age(vault, bundle, now, allow_older=allow_older)
            refuse_bundle_conflicts(vault, content.artifacts, signers)
            note_imported(vault, bundle)
            new = vault.catalog.add_artifacts(
                content.artifacts,
                event=_event(bundle, folder, content, allow_older),
                bundle=_bundle(bundle, folder, content),
            )
        unused = _count_unused(vault, bundle) if content.damaged else 0
    artifacts = tuple(artifact for artifact, _ in content.artifacts)
    return Imported(
        folder=folder,
        artifacts=artifacts,
        new=tuple(artifact for artifact in artifacts if artifact.digest in new),
        new_bytes=content.new_bytes,
        skipped_bytes=content.skipped_bytes,
        signers=bundle.verdict.trusted,
        left_out=content.left_out,
        damaged=content.damaged,
        faults=content.faults,
        unused=unused,
        warnings=(*warnings, *(f"left out: {item}; {_LATER}" for item in content.left_out)),
    )


def _publishers(unverified: UnverifiedBundle) -> tuple[tuple[PublicKey, ...], tuple[str, ...]]:
    """Return the keys on the medium, and what is wrong with them.

    They prove nothing: where a trusted key has signed, a damaged one stops nothing.
    """
    if not unverified.publisher:
        return (), ()
    where = str(unverified.folder / PUBLISHER_KEY)
    try:
        return parse_public_keys(unverified.publisher, where=where), ()
    except KeyUnusable as error:
        note = f"{error.message}; the bundle's signature was checked with the keys of this vault"
        return (), (note,)


@contextlib.contextmanager
def _telling_what_is_left(vault: Vault, bundle: VerifiedBundle) -> Iterator[None]:
    """Let an error of the block say what is left on the disk of a bundle."""
    try:
        yield
    except ModelVaultError as error:
        with contextlib.suppress(ModelVaultError):  # the first error is the one to report
            left = _left(_count_unused(vault, bundle))
            error.hint = f"{error.hint}{left}" if error.hint else left.removeprefix("; ")
        raise


def _count_unused(vault: Vault, bundle: VerifiedBundle) -> int:
    return count_unused(bundle, vault.store, vault.catalog.referenced_digests())


def _left(size: int) -> str:
    if not size:
        return ""
    return (
        f"; {size} bytes of it are kept in the vault for the next import of this bundle"
        " ('modelvault gc --partials' frees them)"
    )


def _event(
    bundle: VerifiedBundle, folder: Path, content: ImportedBundle, allow_older: str | None
) -> Event:
    return Event(
        verb="import",
        subject=str(bundle.index_digest),
        details={
            "signers": " ".join(bundle.verdict.trusted),
            "serial": str(bundle.index.serial),
            "folder": str(folder),
            **({"left_out": "; ".join(content.left_out)} if content.left_out else {}),
            **({"damaged": " ".join(_damaged(content))} if content.damaged else {}),
            **({"allow_older": allow_older} if allow_older else {}),
        },
    )


def _damaged(content: ImportedBundle) -> list[str]:
    return [str(item.digest) for item in content.damaged]


def _bundle(bundle: VerifiedBundle, folder: Path, content: ImportedBundle) -> Bundle:
    """Return the bundle as the catalogue remembers it: with all that it brought or names."""
    damaged = {item.digest for item in content.damaged}
    return Bundle(
        index=bundle.index_digest,
        direction=Direction.IMPORTED,
        serial=bundle.index.serial,
        publisher=bundle.verdict.trusted[0],
        layout=bundle.index.layout.name,
        location=str(folder),
        artifacts=tuple(
            entry.record for entry in bundle.index.artifacts if entry.record not in damaged
        ),
    )
