"""``history --head`` and ``--verify``: the end of the log, signed, and held against a kept one.

A hash chain shows what was altered, inserted or taken out of its middle. A log whose end was cut
off is a sound chain, too: it shows only against a head that was kept where the log's owner
cannot change it.

Format: ``docs/formats/catalog.md``, "The head".
"""

import contextlib
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.keys import own_key
from modelvault.app.vault import Vault
from modelvault.catalog.values import ChainHead
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.core.json_bounds import check_bounds
from modelvault.errors import (
    BadConfiguration,
    BadDigest,
    BadOption,
    KeyNotFound,
    KeyUnusable,
    MalformedRecord,
)
from modelvault.store.identity import read_identity
from modelvault.trust.envelope import Envelope
from modelvault.trust.keys import PublicKey, parse_public_key
from modelvault.trust.policy import IntegrityVerifier

KIND = "modelvault/log-head"
SUBJECT = "log-head.json"
"""Name under which a head is signed."""
LIMIT = 1024 * 1024
"""Largest file with a head that is read, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """The end of one vault's log at one time."""

    vault: str
    """Identity of the vault."""
    head: ChainHead
    time: dt.datetime | None
    """Of the last event; None for an empty log."""

    def encode(self) -> bytes:
        """Return the canonical JSON that is signed."""
        return canonical.encode(
            {
                "_type": f"{KIND}/v1",
                "vault": self.vault,
                "sequence": self.head.sequence,
                "hash": str(self.head.hash),
                "time": self.time.isoformat(timespec="microseconds") if self.time else None,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """The end of the log, and who vouches for it."""

    head: LogHead
    signer: str | None
    """Fingerprint of the vault's key; None where there is none that can be used."""
    signature: bytes | None
    """ECDSA with SHA-256, DER, as it stands in the envelope."""
    envelope: bytes | None
    """DSSE envelope over ``head.encode()`` under the name ``log-head.json``."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLog:
    """A log whose chain holds."""

    events: int
    against: LogHead | None
    """A head that was kept, which the log still contains; None where none was given."""
    signer: str | None
    """Fingerprint of who signed that head, if a key that is known here did."""
    warnings: tuple[str, ...]


def log_head(vault: Vault) -> SignedHead:
    """Return the end of the log, once its chain was found to hold, signed by the vault's key.

    Raises:
        CatalogDamaged: The log was altered.
        BadConfiguration: The vault has no identity.
    """
    head = vault.catalog.chain_head()
    vault.catalog.verify_history(anchor=head)
    found = LogHead(vault=_identity(vault), head=head, time=vault.catalog.last_time())
    try:
        signer, _ = vault.keystore.signing_key(passphrase=vault.config.key_passphrase)
    except KeyNotFound:
        return _unsigned(found, _NO_KEY)
    except KeyUnusable as error:
        return _unsigned(found, f"not signed: {error.message}")
    envelope = signer.sign(SUBJECT, found.encode())
    return SignedHead(
        head=found,
        signer=signer.fingerprint,
        signature=Envelope.parse(envelope).signatures[0].value,
        envelope=envelope,
        warnings=(),
    )


def _unsigned(head: LogHead, warning: str) -> SignedHead:
    return SignedHead(head=head, signer=None, signature=None, envelope=None, warnings=(warning,))


_NO_KEY = "not signed: this vault has no key; 'modelvault key generate' makes one"


def verify_log(vault: Vault, kept: Path | None) -> VerifiedLog:
    """Check the chain of the log, and that it still contains a head that was kept.

    Args:
        vault: Whose log.
        kept: What ``history --head --json`` printed, in a file; None to check the chain alone.

    Raises:
        CatalogDamaged: The log was altered, or does not contain the head: it was cut short or
            rewritten since.
        BadOption: There is no such file, or it is of another vault.
        MalformedRecord: The file holds no head.
        BadSignature: The head was altered after it was signed.
        StorageError: The file system refuses.
    """
    if kept is None:
        return VerifiedLog(
            events=vault.catalog.verify_history(), against=None, signer=None, warnings=()
        )
    head, envelope = _read_kept(kept)
    if head.vault != _identity(vault):
        raise BadOption(
            f"{kept}: the head of another vault's log ({head.vault})",
            hint="name that vault with --vault",
        )
    signer, warnings = _who_signed(vault, head, envelope)
    events = vault.catalog.verify_history(anchor=head.head)
    return VerifiedLog(events=events, against=head, signer=signer, warnings=warnings)


def _identity(vault: Vault) -> str:
    found = read_identity(vault.store.paths)
    if found is None:
        raise BadConfiguration(
            f"{vault.store.paths.root}: this vault has no identity yet",
            hint="run any command that writes to it",
        )
    return found.id


def _read_kept(path: Path) -> tuple[LogHead, bytes | None]:
    """Return the head in a file, and the envelope that vouches for it."""
    try:
        with fsio.storage_errors(path), open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError as error:
        raise BadOption(f"{path}: no such file") from error
    if len(data) > LIMIT:
        raise MalformedRecord(f"{path}: {len(data)} bytes are too many for a head")
    try:
        check_bounds(data)
        fields = Fields(json.loads(data), where=str(path))
    except (ValueError, RecursionError) as error:
        raise MalformedRecord(f"{path}: not what 'history --head --json' prints") from error
    head = _parse_head(fields.text("payload").encode("utf-8"), path)
    envelope = fields.optional_text("envelope", longest=LIMIT)
    return head, envelope.encode() if envelope else None


def _parse_head(data: bytes, path: Path) -> LogHead:
    fields = Fields(canonical.parse(data, limit=LIMIT), where=f"{path}: payload")
    fields.version(KIND)
    try:
        time = fields.optional_text("time", longest=40)
        head = LogHead(
            vault=fields.text("vault", longest=64),
            head=ChainHead(
                sequence=fields.integer("sequence"), hash=Digest.parse(fields.text("hash"))
            ),
            time=dt.datetime.fromisoformat(time) if time else None,
        )
    except (BadDigest, ValueError) as error:
        raise MalformedRecord(f"{path}: {error}") from error
    fields.finish()
    return head


def _who_signed(
    vault: Vault, head: LogHead, envelope: bytes | None
) -> tuple[str | None, tuple[str, ...]]:
    """Return the fingerprint of a known key that signed a head, and what is to be said.

    Raises:
        BadSignature: It was altered after it was signed.
    """
    if envelope is None:
        return None, ("the head was kept without a signature: whoever kept it vouches for it",)
    known: list[PublicKey] = [item.key for item in vault.keystore.trusted()]
    with contextlib.suppress(KeyNotFound, KeyUnusable):
        known.append(parse_public_key(own_key(vault, create=False).public_key))
    claimed = {signature.keyid for signature in Envelope.parse(envelope).signatures}
    for key in known:
        if key.fingerprint in claimed:
            verdict = IntegrityVerifier(key.pem).verify(SUBJECT, head.encode(), envelope)
            return verdict.signers[0], ()
    return None, (_STRANGE,)


_STRANGE = "the head is signed by no key that this vault knows: compare it with what was kept"
