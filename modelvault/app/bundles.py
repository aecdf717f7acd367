"""``bundle verify`` and ``bundle show``: look at a bundle, with no vault at all."""

import logging
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.timing import timed
from modelvault.bundle.read.bundle import VerifiedBundle, open_bundle
from modelvault.bundle.read.cargo import Cargo, read_cargo
from modelvault.bundle.read.check import check_bundle
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.errors import KeyNotFound
from modelvault.trust.keystore import read_public_key
from modelvault.trust.policy import IntegrityVerifier

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a bundle says of itself, once its signature was checked."""

    folder: Path
    index_digest: Digest
    signers: tuple[str, ...]
    """Fingerprints whose signatures verify."""
    trusted: bool
    """Whether the signature was checked with a key the caller gave, not the medium's own."""
    serial: int
    created: str
    expires: str | None
    size: int
    """Raw bytes of all blobs."""
    stored_size: int
    """Bytes of all carriers."""
    volumes: tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    left_out: tuple[str, ...]
    """Artefacts that only a newer release reads, one sentence each."""


@timed(_log, "check of a bundle")
def verify_bundle(folder: Path, key: Path | None, progress: Progress) -> Checked:
    """Check every byte of a bundle against its signed index.

    Args:
        folder: The bundle's folder.
        key: The publisher's public key; None to use the one on the medium, which shows
            damage but not who signed.
        progress: Told about bytes read.

    Raises:
        BundleNotFound: There is none.
        TrustError: The signature does not verify, or is by another key than ``key``.
        BundleDamaged: Carriers are missing, altered, truncated …; ``issues`` names all.
    """
    bundle = _open(folder, key)
    cargo = check_bundle(bundle, progress).cargo
    return _describe(bundle, folder, cargo, trusted=key is not None)


@timed(_log, "look at a bundle")
def show_bundle(folder: Path) -> Checked:
    """Return what a bundle says it holds; its index and records are checked, no weights.

    Raises:
        BundleNotFound: There is none.
        TrustError: The signature does not verify.
        BundleDamaged: Carriers are missing, or records are altered.
    """
    bundle = _open(folder, None)
    bundle.check_carriers()
    return _describe(bundle, folder, read_cargo(bundle), trusted=False)


def _open(folder: Path, key: Path | None) -> VerifiedBundle:
    unverified = open_bundle(folder)
    if key is None and not unverified.publisher:
        raise KeyNotFound(f"{folder}: no public key on the medium", hint="give it with --key FILE")
    pem = read_public_key(key) if key else unverified.publisher
    return unverified.verify(IntegrityVerifier(pem))


def _describe(bundle: VerifiedBundle, folder: Path, cargo: Cargo, *, trusted: bool) -> Checked:
    index = bundle.index
    return Checked(
        folder=folder,
        index_digest=bundle.index_digest,
        signers=bundle.verdict.signers,
        trusted=trusted,
        serial=index.serial,
        created=index.created,
        expires=index.expires,
        size=index.size,
        stored_size=sum(carrier.size for carrier in index.carriers),
        volumes=tuple(carrier.name for carrier in index.carriers),
        artifacts=tuple(artifact for artifact, _ in cargo.artifacts),
        left_out=cargo.left_out,
    )
