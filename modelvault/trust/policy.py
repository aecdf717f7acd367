"""Whom to believe: the policy over keys, as verifiers.

A signature counts when a key this side holds verifies it. What the envelope says about
its signers decides nothing; it only words the message. Signatures count by key, so that
one key signing twice is one signer.

Both classes are ``Verifier``; they differ in what they let through:

* ``TrustPolicy`` wants signatures by enough *trusted* keys: import uses it.
* ``IntegrityVerifier`` believes the medium's own key: ``bundle verify`` uses it, where
  the question is whether bytes are as they were signed, not who signed them.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from modelvault.core.ports import Verdict
from modelvault.errors import BadOption, BadSignature, UnknownSigner, UnsupportedVersion
from modelvault.trust.envelope import MOST_SIGNATURES, Envelope, Signature, check_statement
from modelvault.trust.keys import (
    PublicKey,
    parse_fingerprint,
    parse_public_keys,
    spoken_fingerprint,
)

_ALTERED = "the medium was altered or damaged: do not import it, ask the publisher again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How many trusted keys have to agree."""

    threshold: int = 1
    """Number of different trusted keys whose signatures are needed."""

    def __post_init__(self) -> None:
        """Refuse a threshold that lets everything or nothing pass."""
        if not 1 <= self.threshold <= MOST_SIGNATURES:
            raise BadOption(f"a threshold of {self.threshold} is not from 1 to {MOST_SIGNATURES}")


class TrustPolicy:
    """Accepts what enough trusted keys have signed; a ``Verifier``."""

    def __init__(
        self,
        trusted: Iterable[PublicKey],
        policy: Policy | None = None,
        *,
        publishers: Iterable[PublicKey] = (),
        trust_command: str = "modelvault trust add DIR",
        sign_command: str = "modelvault bundle sign DIR",
    ) -> None:
        """Take the keys.

        Args:
            trusted: Keys that count towards the threshold.
            policy: Threshold; one signature when None.
            publishers: The medium's own keys. They never count; they let the message
                name an unknown signer by a fingerprint that was checked.
            trust_command: The command line that would trust the medium's key; the hint
                completes it with the fingerprint.
            sign_command: The command line that would add a signature by another key.
        """
        self._trusted = {key.fingerprint: key for key in trusted}
        self._publishers = {key.fingerprint: key for key in publishers}
        self._policy = policy or Policy()
        self._trust_command = trust_command
        self._sign_command = sign_command

    def verify(self, name: str, payload: bytes, envelope: bytes) -> Verdict:
        """Return who signed ``payload``.

        Raises:
            BadSignature: The envelope is malformed, names another subject or digest, or a
                signature that one of the known keys should have made does not verify.
            UnknownSigner: Fewer trusted signatures than the policy asks for.
            UnsupportedVersion: Enough of them, on a statement of a newer version.
        """
        parsed = Envelope.parse(envelope)
        signers = _signers(parsed, {**self._publishers, **self._trusted})
        claimed = {signature.keyid for signature in parsed.signatures}
        if not signers and (self._publishers or claimed & self._trusted.keys()):
            raise BadSignature(f"no signature on {name} verifies", hint=_ALTERED)
        trusted = tuple(signer for signer in signers if signer in self._trusted)
        try:
            check_statement(parsed.payload, name, payload)
        except UnsupportedVersion:
            # Only believed signers may ask for an update.
            if len(trusted) >= self._policy.threshold:
                raise
        if len(trusted) < self._policy.threshold:
            raise self._unknown(name, signers, trusted, claimed)
        return Verdict(signers=signers, trusted=trusted)

    def _unknown(
        self, name: str, signers: tuple[str, ...], trusted: tuple[str, ...], claimed: set[str]
    ) -> UnknownSigner:
        verified = [signer for signer in signers if signer not in self._trusted]
        strangers = verified or _claims(claimed - self._trusted.keys())
        if self._policy.threshold > 1:
            message = (
                f"{name}: {len(trusted)} of {self._policy.threshold} required trusted "
                "signatures verify"
            )
        else:
            message = f"{name} is not signed by a key that this vault trusts"
        if len(strangers) == 1:
            message += f"; the signer is {strangers[0]}"
        how = "signed by" if verified else "no key here to check it, but it claims to be signed by"
        issues = [f"{how} {item} (aloud: {spoken_fingerprint(item)})" for item in strangers]
        return UnknownSigner(message, hint=self._way_out(strangers), issues=issues)

    def _way_out(self, strangers: list[str]) -> str:
        """Return what to do about too few trusted signatures, given who else has signed."""
        trust = (
            "compare the fingerprint with the publisher's over another channel, then: "
            f"{self._trust_command} --fingerprint {strangers[0] if strangers else 'SHA256:…'}"
        )
        if self._policy.threshold == 1:
            return trust
        sign = (
            "have somebody whose key this vault trusts look into the bundle and sign it, "
            f"in a vault of their own: {self._sign_command}"
        )
        return f"{sign}; or {trust}" if strangers else sign


class IntegrityVerifier:
    """Accepts what the medium's own key has signed; says nothing about trust."""

    def __init__(self, public_key_pem: bytes) -> None:
        """Take the key or keys that stand beside the signature.

        Args:
            public_key_pem: One or several public keys, as the medium holds them.

        Raises:
            KeyUnusable: Not P-256 public keys in PEM form.
        """
        keys = parse_public_keys(public_key_pem, where="publisher's key")
        self._keys = {key.fingerprint: key for key in keys}

    def verify(self, name: str, payload: bytes, envelope: bytes) -> Verdict:
        """Return who signed ``payload``; no signer in the verdict is trusted.

        Raises:
            BadSignature: The envelope is malformed, names another subject or digest, or no
                signature in it verifies.
            UnsupportedVersion: One does, on a statement of a newer version.
        """
        parsed = Envelope.parse(envelope)
        signers = _signers(parsed, self._keys)
        if not signers:
            raise BadSignature(f"no signature on {name} verifies", hint=_ALTERED)
        check_statement(parsed.payload, name, payload)
        return Verdict(signers=signers, trusted=())


def _signers(envelope: Envelope, keys: dict[str, PublicKey]) -> tuple[str, ...]:
    """Return the fingerprints of the keys that made a signature here, each once, sorted."""
    found: set[str] = set()
    for signature in envelope.signatures:
        for key in _candidates(signature, keys):
            if key.fingerprint not in found and key.verifies(
                signature.value, envelope.signed_bytes
            ):
                found.add(key.fingerprint)
                break
    return tuple(sorted(found))


def _candidates(signature: Signature, keys: dict[str, PublicKey]) -> Iterable[PublicKey]:
    # A keyid is a hint (DSSE protocol): when it names a key we hold, no other key can have
    # made an honest signature; when it does not, every key is tried.
    hinted = keys.get(signature.keyid)
    return keys.values() if hinted is None else (hinted,)


def _claims(keyids: Iterable[str]) -> list[str]:
    # No signature covers a keyid: only a well-formed fingerprint gets near a command line.
    found = set()
    for keyid in keyids:
        with contextlib.suppress(BadOption):
            found.add(parse_fingerprint(keyid))
    return sorted(found)
