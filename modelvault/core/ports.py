"""The ports between the layers: tiny interfaces, each with a real adapter and a fake.

``app`` hands adapters to the code that needs them; peers never import each other. Every
adapter passes the contract suite of its port in ``tests/contracts``.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier says of a signature that is mathematically valid."""

    signers: tuple[str, ...]
    """Fingerprints of the keys whose signatures verify, sorted."""
    trusted: tuple[str, ...]
    """Those of ``signers`` that the policy trusts; empty for a bare integrity check."""


class Signer(Protocol):
    """Signs payloads with one private key."""

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of the public key, as people compare it."""

    @property
    def public_key(self) -> bytes:
        """The public key as PEM (SubjectPublicKeyInfo)."""

    def sign(self, name: str, payload: bytes) -> bytes:
        """Return a DSSE envelope around an in-toto statement about ``payload``.

        Args:
            name: The subject's name in the statement, such as ``index.json``.
            payload: The bytes that are vouched for.
        """


class Verifier(Protocol):
    """Checks envelopes against a policy."""

    def verify(self, name: str, payload: bytes, envelope: bytes) -> Verdict:
        """Return who signed ``payload``.

        Raises:
            BadSignature: The envelope is malformed, names another subject or digest, or no
                signature in it verifies.
            UnknownSigner: Valid signatures, but none by a key the policy trusts.
        """
