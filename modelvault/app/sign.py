"""``bundle sign``: vouch for a bundle that another vault has written.

Order: a signature that is believed, or at least sound, over the raw index; parsing; expiry and
age; then every byte against the index, for nobody should vouch for what is damaged; then the
serial is noted, and the signature is added last. See ``docs/adr/0022-signed-by-several.md``.
"""

import contextlib
import datetime as dt
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.keys import OwnKey, own_key
from modelvault.app.refusals import logs_refusals
from modelvault.app.serials import (
    SIGNED,
    check_reason,
    highest_serial,
    judge_age,
    note_exported,
    refuse_expired,
)
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.bundle.format import names
from modelvault.bundle.read.bundle import UnverifiedBundle, VerifiedBundle, open_set
from modelvault.bundle.read.check import check_bundle
from modelvault.bundle.write.cosigning import write_signatures
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Verifier
from modelvault.errors import (
    BadOption,
    KeyNotFound,
    KeyUnusable,
    MediumVanished,
    ReadOnly,
)
from modelvault.trust.envelope import merge_envelopes
from modelvault.trust.keys import MOST_KEYS_IN_FILE, PublicKey, parse_public_keys
from modelvault.trust.keystore import read_public_key
from modelvault.trust.policy import IntegrityVerifier, TrustPolicy

_log = logging.getLogger(__name__)

_UNKNOWN = (
    "this vault trusts no key: the signature was checked with the key on the medium itself, which "
    "shows damage, not who signed; compare the fingerprint, or give --key"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What was signed, and by whom."""

    folders: tuple[Path, ...]
    """The media."""
    index_digest: Digest
    serial: int
    key: OwnKey
    """This vault's."""
    signers: tuple[str, ...]
    """Fingerprints whose signatures the bundle bears now, as far as their keys are known."""
    new: bool
    """False where this vault's key had signed it before: nothing was written."""
    artifacts: tuple[Artifact, ...]
    """What it holds, as far as this release reads it; empty where nothing was written."""
    warnings: tuple[str, ...]
    """What the user should know, one sentence each."""


def _about(folders: Sequence[Path], *_: object, **__: object) -> str:
    return " ".join(map(str, folders))


@timed(_log, "signing of a bundle")
@logs_refusals("bundle sign", about=_about)
def sign_bundle(
    vault: Vault,
    folders: Sequence[Path],
    progress: Progress,
    *,
    publisher: Path | None = None,
    allow_older: str | None = None,
) -> Signed:
    """Add this vault's signature to a bundle; a signing key is made at first use.

    Args:
        vault: Whose key signs.
        folders: The medium, or all media of a set.
        progress: Told about bytes read.
        publisher: Public key that the bundle must be signed by; None for the keys that the
            vault trusts or, where it trusts none, the one on the medium.
        allow_older: Why a bundle is signed though its signer sent a newer one, for the log;
            None to refuse it.

    Raises:
        BadOption: The reason is not acceptable, a folder is named twice or holds another
            bundle, or too many have signed.
        BundleNotFound: There is none.
        UnsupportedVersion: A newer release wrote it, or everything in it.
        TrustError: No signature is believed, or the bundle has expired or is older than what
            its signer sent here.
        Corruption: Carriers or contents are not what was signed; ``issues`` names all.
        StorageError: A medium cannot be written.
    """
    allow_older = check_reason(allow_older)
    media = open_set(folders)
    known = _Keys(vault, media[0], publisher)
    bundles = [medium.verify(known.verifier) for medium in media]
    lacking = [
        medium for medium, bundle in zip(media, bundles, strict=True) if not known.signed(bundle)
    ]
    bundle = bundles[0]
    if not lacking:
        return _result(folders, bundle, own_key(vault, create=False), new=False)
    _refuse_read_only(lacking)
    refuse_expired(bundle)
    warnings = judge_age(vault, bundle, dt.datetime.now(dt.UTC), allow_older=allow_older)
    cargo = check_bundle(bundle, progress).cargo
    key = own_key(vault, create=True)
    warnings = (*known.doubts, *warnings, *_ahead(vault, bundle, key))
    signer, _ = vault.keystore.signing_key(passphrase=vault.config.key_passphrase)
    signature = signer.sign(names.INDEX, media[0].index_bytes)
    note_exported(vault, key.fingerprint, bundle.index.serial)
    for medium in lacking:
        write_signatures(
            medium.folder,
            signatures=merge_envelopes(medium.signature, signature),
            publishers=known.on(medium, key),
        )
    signed = _read_back(vault, folders, publisher)
    vault.catalog.record(_event(signed, folders, key, allow_older))
    return _result(
        folders,
        signed,
        key,
        new=True,
        artifacts=tuple(artifact for artifact, _ in cargo.artifacts),
        warnings=(
            *warnings,
            *(f"nobody looked into what a newer release wrote: {item}" for item in cargo.left_out),
        ),
    )


class _Keys:
    """Which keys are asked for a bundle's signatures, and which travel with it."""

    def __init__(self, vault: Vault, medium: UnverifiedBundle, publisher: Path | None) -> None:
        self._own: tuple[PublicKey, ...] = ()
        with contextlib.suppress(KeyNotFound):  # one is made when all else is well
            self._own = parse_public_keys(own_key(vault, create=False).public_key)
        trusted = tuple(item.key for item in vault.keystore.trusted())
        carried = _carried(medium)
        self.doubts: tuple[str, ...] = ()
        """What the user should know of the signatures that were found."""
        self.verifier: Verifier
        if publisher is not None:
            believed = parse_public_keys(read_public_key(publisher))
        elif trusted:
            believed = trusted
        else:
            believed = carried
            self.doubts = (_UNKNOWN,)
        if not (believed or self._own):
            raise KeyNotFound(
                f"{medium.folder}: no usable public key on the medium",
                hint="give the publisher's with --key FILE",
            )
        if publisher is None and trusted:
            self.verifier = TrustPolicy(
                (*trusted, *self._own),
                publishers=carried,
                trust_command=vault.command("trust", "add", str(medium.folder)),
            )
        else:
            self.verifier = IntegrityVerifier(b"".join(key.pem for key in (*believed, *self._own)))
        self._known = {key.fingerprint: key for key in (*believed, *self._own)}

    def signed(self, bundle: VerifiedBundle) -> bool:
        """Return whether this vault's key has signed a bundle."""
        return any(key.fingerprint in bundle.verdict.signers for key in self._own)

    def on(self, medium: UnverifiedBundle, key: OwnKey) -> bytes:
        """Return the public keys that go with a medium's signatures, as PEM.

        Raises:
            BadOption: More than one file holds.
        """
        signers = medium.verify(self.verifier).verdict.signers
        keys = {item.fingerprint: item for item in _carried(medium)}
        keys |= {name: self._known[name] for name in signers if name in self._known}
        keys |= {item.fingerprint: item for item in parse_public_keys(key.public_key)}
        if len(keys) > MOST_KEYS_IN_FILE:
            raise BadOption(
                f"{medium.folder}: {len(keys) - 1} keys stand there, and {MOST_KEYS_IN_FILE} fit"
            )
        return b"".join(item.pem for item in keys.values())


def _carried(medium: UnverifiedBundle) -> tuple[PublicKey, ...]:
    """Return the keys beside a signature, which prove nothing; none where they are damaged."""
    try:
        return parse_public_keys(medium.publisher) if medium.publisher else ()
    except KeyUnusable:
        return ()


def _refuse_read_only(media: Sequence[UnverifiedBundle]) -> None:
    """Say that a medium cannot be written before all of it is read.

    Raises:
        ReadOnly: As said.
    """
    for medium in media:
        if not os.access(medium.folder, os.W_OK):
            raise ReadOnly(
                f"{medium.folder}: cannot be written",
                hint="mount the medium for writing, or sign a copy of it",
            )


def _ahead(vault: Vault, bundle: VerifiedBundle, key: OwnKey) -> tuple[str, ...]:
    """Return what is to be said where this key has signed newer bundles, one sentence each."""
    highest = highest_serial(vault, key.fingerprint)
    before = any(
        event.details.get("signer") == key.fingerprint
        for event in vault.catalog.history(subject=str(bundle.index_digest))
    )
    if highest < bundle.index.serial or (highest == bundle.index.serial and before):
        return ()
    sentence = (
        f"this key has signed a bundle of serial {highest}, and this one has serial "
        f"{bundle.index.serial}: sites that took that one refuse this one as older; its "
        "publisher's next serial will be higher after signing a bundle of yours"
    )
    return (sentence,)


def _read_back(vault: Vault, folders: Sequence[Path], publisher: Path | None) -> VerifiedBundle:
    """Open what was written as others will: some media lose what they confirmed.

    Raises:
        MediumVanished: A medium did.
    """
    media = open_set(folders)
    keys = _Keys(vault, media[0], publisher)
    bundles = [medium.verify(keys.verifier) for medium in media]
    for medium, bundle in zip(media, bundles, strict=True):
        if not keys.signed(bundle):
            raise MediumVanished(
                f"{medium.folder}: the medium did not keep the signature",
                hint="use another medium, and sign again",
            )
    return bundles[0]


def _event(
    bundle: VerifiedBundle, folders: Sequence[Path], key: OwnKey, allow_older: str | None
) -> Event:
    return Event(
        verb=SIGNED,
        subject=str(bundle.index_digest),
        details={
            "signer": key.fingerprint,
            "serial": str(bundle.index.serial),
            "beside": " ".join(
                signer for signer in bundle.verdict.signers if signer != key.fingerprint
            ),
            "folder": " ".join(map(str, folders)),
            **({"allow_older": allow_older} if allow_older else {}),
        },
    )


def _result(
    folders: Sequence[Path],
    bundle: VerifiedBundle,
    key: OwnKey,
    *,
    new: bool,
    artifacts: tuple[Artifact, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Signed:
    return Signed(
        folders=tuple(folders),
        index_digest=bundle.index_digest,
        serial=bundle.index.serial,
        key=key,
        signers=bundle.verdict.signers,
        new=new,
        artifacts=artifacts,
        warnings=warnings,
    )
