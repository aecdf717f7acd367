"""``key`` and ``trust``: this site's signing key, and the keys it believes."""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.refusals import logs_refusals
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.errors import ConfirmationRequired
from modelvault.trust.keys import PublicKey, spoken_fingerprint
from modelvault.trust.keystore import TrustedKey, choose_key, read_public_key

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKey:
    """This vault's signing key, as others see it."""

    fingerprint: str
    spoken: str
    """The fingerprint in groups, to be read out over a telephone."""
    public_key: bytes
    """PEM."""
    created: bool
    """Whether it was made just now."""


def own_key(vault: Vault, *, create: bool) -> OwnKey:
    """Return the signing key, making it where that is wanted.

    Raises:
        KeyNotFound: There is none and ``create`` is False.
        KeyUnusable: The file is damaged, readable by others, or needs a passphrase.
    """
    key, created = vault.keystore.signing_key(create=create, passphrase=vault.config.key_passphrase)
    if created:
        vault.catalog.record(
            Event(verb="key generate", subject=key.fingerprint, details={"kind": "ECDSA P-256"})
        )
    return OwnKey(
        fingerprint=key.fingerprint,
        spoken=spoken_fingerprint(key.fingerprint),
        public_key=key.public_key,
        created=created,
    )


def export_key(vault: Vault, target: Path) -> OwnKey:
    """Write the public key to a file; return it.

    Raises:
        KeyNotFound: There is no signing key yet.
        StorageError: The file system refuses.
    """
    key = own_key(vault, create=False)
    fsio.write_durably(target, key.public_key)
    return key


def _about(origin: Path, *_: object, **__: object) -> str:
    return str(origin)


@timed(_log, "trust")
@logs_refusals("trust add", about=_about)
def trust_key(
    vault: Vault,
    origin: Path,
    *,
    label: str | None,
    fingerprint: str | None,
    confirm: Callable[[PublicKey], bool] | None,
    unchecked: bool = False,
) -> TrustedKey:
    """Trust the key in a PEM file or on a medium; the log keeps how it was compared.

    Args:
        vault: The vault that will trust it.
        origin: PEM file, or folder of a bundle.
        label: Whose key it is; None for the name of the file or folder.
        fingerprint: What the operator was told over another channel.
        confirm: Asked where no fingerprint was given; None where no operator can be asked.
        unchecked: Whether the operator takes the key without a comparison; nobody is asked then.

    Raises:
        ConfirmationRequired: The operator has not vouched for the key.
        FingerprintMismatch: It is another key.
        KeyNotFound: There is no key.
        KeyUnusable: It is not an ECDSA P-256 public key.
    """
    pem = read_public_key(origin)
    key = choose_key(pem, fingerprint)
    compared = "by --fingerprint" if fingerprint is not None else "no" if unchecked else "asked"
    if compared == "asked" and (confirm is None or not confirm(key)):
        raise ConfirmationRequired(
            f"the key {key.fingerprint} was not confirmed",
            hint="compare it with what its owner tells you, then: "
            + vault.command("trust", "add", str(origin), "--fingerprint", key.fingerprint),
        )
    trusted = vault.keystore.trust(
        key.pem,
        label or origin.absolute().name or str(origin),
        key.fingerprint,
        when=dt.datetime.now(dt.UTC),
    )
    vault.catalog.record(
        Event(
            verb="trust add",
            subject=trusted.fingerprint,
            details={"label": trusted.label, "compared": compared, "from": str(origin)},
        )
    )
    return trusted


@timed(_log, "end of trust")
def distrust_key(vault: Vault, prefix: str) -> TrustedKey:
    """Trust a key no longer; return it.

    Raises:
        KeyNotFound: No trusted key's fingerprint starts with ``prefix``.
        BadOption: Several do.
    """
    removed = vault.keystore.forget(prefix)
    vault.catalog.record(
        Event(verb="trust remove", subject=removed.fingerprint, details={"label": removed.label})
    )
    return removed
