"""``bundle verify`` and ``bundle show``: look at a bundle, with no vault at all.

Where there is a vault, the keys it trusts, and its own, say who signed. Without one, the key on
the medium shows damage, and nothing about whom to believe.
"""

import contextlib
import logging
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.timing import timed
from modelvault.app.vault import Vault, default_root
from modelvault.bundle.read.bundle import UnverifiedBundle, VerifiedBundle, open_bundle
from modelvault.bundle.read.cargo import Cargo, read_cargo
from modelvault.bundle.read.check import check_bundle
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.errors import KeyNotFound, KeyUnusable, UnknownSigner
from modelvault.store.paths import VaultPaths
from modelvault.trust.keys import PublicKey, parse_public_keys
from modelvault.trust.keystore import read_public_key
from modelvault.trust.policy import IntegrityVerifier, Policy, TrustPolicy

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a bundle says of itself, once its signature was checked."""

    folder: Path
    index_digest: Digest
    signers: tuple[str, ...]
    """Fingerprints whose signatures verify."""
    trusted: bool
    """Whether a key that the caller gave or the vault trusts, or its own, has signed it; else the
    signature was checked with the medium's own key."""
    labels: Mapping[str, str]
    """Fingerprint → whose key it is, as far as the vault knows."""
    doubts: tuple[str, ...]
    """What there is to be said of the signature, one sentence each."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTrust:
    """What a vault says about signers."""

    keys: tuple[PublicKey, ...]
    """Those it trusts, and its own."""
    labels: Mapping[str, str]
    """Fingerprint → whose key it is."""
    threshold: int
    """How many have to sign."""
    strict: bool
    """Whether a bundle by others is refused: a vault that trusts nobody expects nobody."""


_UNKNOWN = (
    "the signature was checked with the key on the medium itself: that shows damage, not who "
    "signed; compare the fingerprint, or give --key"
)


def site_trust(root: Path | None) -> SiteTrust | None:
    """Return what the vault of this site says about signers; None without one, or without keys.

    Args:
        root: The vault's folder; None for the usual one, which need not be there.

    Raises:
        VaultNotFound: A folder is named, and is no vault.
        KeyUnusable: A trusted key is damaged.
        StorageError: The keys cannot be read.
    """
    if root is None and not VaultPaths(default_root(os.environ).absolute()).blobs.is_dir():
        return None
    with Vault.open(root) as vault:
        trusted = vault.keystore.trusted()
        labels = {item.fingerprint: item.label for item in trusted}
        keys = {item.fingerprint: item.key for item in trusted}
        with contextlib.suppress(KeyNotFound, KeyUnusable):  # a passphrase may not be at hand
            own, _ = vault.keystore.signing_key(passphrase=vault.config.key_passphrase)
            labels.setdefault(own.fingerprint, "this vault's own key")
            keys |= {item.fingerprint: item for item in parse_public_keys(own.public_key)}
        if not keys:
            return None
        return SiteTrust(
            keys=tuple(keys.values()),
            labels=labels,
            threshold=vault.config.threshold if trusted else 1,
            strict=bool(trusted),
        )


@timed(_log, "check of a bundle")
def verify_bundle(
    folder: Path, key: Path | None, progress: Progress, *, trust: SiteTrust | None = None
) -> Checked:
    """Check every byte of a bundle against its signed index.

    Args:
        folder: The bundle's folder.
        key: The publisher's public key; None to go by ``trust``.
        progress: Told about bytes read.
        trust: Whom this site believes; None to use the key on the medium, which shows damage but
            not who signed.

    Raises:
        BundleNotFound: There is none.
        TrustError: The signature does not verify, or is by another key than ``key``, or by none
            that this site believes.
        BundleDamaged: Carriers are missing, altered, truncated …; ``issues`` names all.
    """
    unverified = open_bundle(folder)
    if key is not None:
        opened = _Opened(unverified.verify(IntegrityVerifier(read_public_key(key))), trusted=True)
    else:
        opened = _open(unverified, trust, strict=trust is not None and trust.strict)
    return _describe(opened, folder, check_bundle(opened.bundle, progress).cargo, trust)


@timed(_log, "look at a bundle")
def show_bundle(folder: Path, *, trust: SiteTrust | None = None) -> Checked:
    """Return what a bundle says it holds; its index and records are checked, no weights.

    One whose signer this site does not believe is shown, too, and the doubt is told.

    Args:
        folder: The bundle's folder.
        trust: Whom this site believes; None to use the key on the medium.

    Raises:
        BundleNotFound: There is none.
        TrustError: The signature does not verify.
        BundleDamaged: Carriers are missing, or records are altered.
    """
    opened = _open(open_bundle(folder), trust, strict=False)
    opened.bundle.check_carriers()
    return _describe(opened, folder, read_cargo(opened.bundle), trust)


@dataclass(frozen=True, slots=True)
class _Opened:
    bundle: VerifiedBundle
    trusted: bool
    doubts: tuple[str, ...] = ()


def _open(unverified: UnverifiedBundle, trust: SiteTrust | None, *, strict: bool) -> _Opened:
    """Check a bundle's signature by whom this site believes, else by the medium's own key.

    Raises:
        UnknownSigner: This site does not believe its signers, and ``strict`` is set.
        TrustError: The signature does not verify.
    """
    doubt = _UNKNOWN
    if trust is not None:
        try:
            return _Opened(unverified.verify(_policy(unverified, trust)), trusted=True)
        except UnknownSigner as error:
            if strict:
                raise
            doubt = error.message if trust.strict else _UNKNOWN
    return _Opened(unverified.verify(_by_medium(unverified)), trusted=False, doubts=(doubt,))


def _policy(unverified: UnverifiedBundle, trust: SiteTrust) -> TrustPolicy:
    with contextlib.suppress(KeyUnusable):
        return TrustPolicy(
            trust.keys,
            Policy(threshold=trust.threshold),
            publishers=parse_public_keys(unverified.publisher) if unverified.publisher else (),
            trust_command=shlex.join(("modelvault", "trust", "add", str(unverified.folder))),
            sign_command=shlex.join(("modelvault", "bundle", "sign", str(unverified.folder))),
        )
    return TrustPolicy(trust.keys, Policy(threshold=trust.threshold))


def _by_medium(unverified: UnverifiedBundle) -> IntegrityVerifier:
    """Return what checks a bundle by the key that travels with it.

    Raises:
        KeyNotFound: There is none.
    """
    if not unverified.publisher:
        raise KeyNotFound(
            f"{unverified.folder}: no public key on the medium", hint="give it with --key FILE"
        )
    return IntegrityVerifier(unverified.publisher)


def _describe(opened: _Opened, folder: Path, cargo: Cargo, trust: SiteTrust | None) -> Checked:
    bundle, index = opened.bundle, opened.bundle.index
    return Checked(
        folder=folder,
        index_digest=bundle.index_digest,
        signers=bundle.verdict.signers,
        trusted=opened.trusted,
        labels=trust.labels if trust else {},
        doubts=opened.doubts,
        serial=index.serial,
        created=index.created,
        expires=index.expires,
        size=index.size,
        stored_size=sum(carrier.size for carrier in index.carriers),
        volumes=tuple(carrier.name for carrier in index.carriers),
        artifacts=tuple(artifact for artifact, _ in cargo.artifacts),
        left_out=cargo.left_out,
    )
