"""A signer and a verifier in memory: the contract of the ports without cryptography.

The "signature" is a keyed hash under the signer's name, so that a forger who does not know
the name's secret fails here as against the real ones.
"""

import hashlib
import hmac
import json

from modelvault.core.digest import Digest
from modelvault.core.ports import Verdict
from modelvault.errors import BadSignature, UnknownSigner


class FakeSigner:
    """Signs with a secret; the public key names it."""

    def __init__(self, who: str) -> None:
        """Make a signer called ``who``."""
        self._secret = f"secret of {who}".encode()
        self._public = f"-----BEGIN FAKE KEY-----\n{who}\n-----END FAKE KEY-----\n".encode()

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of the public key."""
        return f"SHA256:{hashlib.sha256(self._public).hexdigest()}"

    @property
    def public_key(self) -> bytes:
        """The made-up PEM."""
        return self._public

    def sign(self, name: str, payload: bytes) -> bytes:
        """Return an envelope of the fake format."""
        statement = json.dumps([name, Digest.of(payload).hex])
        return json.dumps(
            {"statement": statement, "signatures": {self.fingerprint: self.seal(statement)}}
        ).encode()

    def seal(self, statement: str) -> str:
        """Return the keyed hash of a statement."""
        return hmac.new(self._secret, statement.encode(), "sha256").hexdigest()


class FakeVerifier:
    """Trusts some fake signers, and can check those of ``known`` besides."""

    def __init__(self, trusted: list[FakeSigner], known: list[FakeSigner]) -> None:
        """Take the signers."""
        self._trusted = {signer.fingerprint for signer in trusted}
        self._known = {signer.fingerprint: signer for signer in [*trusted, *known]}

    def verify(self, name: str, payload: bytes, envelope: bytes) -> Verdict:
        """Return who signed ``payload``."""
        try:
            fields = json.loads(envelope)
            statement, signatures = fields["statement"], fields["signatures"]
            subject = json.loads(statement)
        except (ValueError, KeyError, TypeError) as error:
            raise BadSignature("not an envelope") from error
        if subject != [name, Digest.of(payload).hex]:
            raise BadSignature("about something else")
        signers = tuple(
            sorted(
                fingerprint
                for fingerprint, seal in signatures.items()
                if fingerprint in self._known
                and hmac.compare_digest(self._known[fingerprint].seal(statement), seal)
            )
        )
        if not signers and signatures.keys() & self._known.keys():
            raise BadSignature("no signature verifies")
        trusted = tuple(signer for signer in signers if signer in self._trusted)
        if not trusted:
            raise UnknownSigner("not signed by a trusted key")
        return Verdict(signers=signers, trusted=trusted)
