"""The contract of ``Signer`` and ``Verifier``: the real ones and the fake keep it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from modelvault.core.ports import Signer, Verdict, Verifier
from modelvault.errors import BadSignature, UnknownSigner
from modelvault.trust.keys import LocalKey, parse_public_key
from modelvault.trust.policy import TrustPolicy
from tests.support.fakes_signing import FakeSigner, FakeVerifier

NAME = "index.json"
PAYLOAD = b'{"a":1}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A publisher, a stranger, and how to make the verifier that trusts the publisher."""

    publisher: Signer
    stranger: Signer
    verifier: Verifier


def _real() -> Pair:
    publisher, stranger = (LocalKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    verifier = TrustPolicy(
        [parse_public_key(publisher.public_key)],
        publishers=[parse_public_key(stranger.public_key)],
    )
    return Pair(publisher=publisher, stranger=stranger, verifier=verifier)


def _fake() -> Pair:
    publisher, stranger = FakeSigner("publisher"), FakeSigner("stranger")
    verifier = FakeVerifier([publisher], [stranger])
    return Pair(publisher=publisher, stranger=stranger, verifier=verifier)


@pytest.fixture(params=[_real, _fake], ids=["ecdsa", "fake"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Return the adapters under test."""
    make: Callable[[], Pair] = request.param
    return make()


def test_signed_payload_gives_its_signer(pair: Pair) -> None:
    """What a trusted key signed verifies, and the verdict names the key."""
    verdict = pair.verifier.verify(NAME, PAYLOAD, pair.publisher.sign(NAME, PAYLOAD))
    fingerprint = pair.publisher.fingerprint
    assert verdict == Verdict(signers=(fingerprint,), trusted=(fingerprint,))


def test_fingerprint_is_stable_and_its_own(pair: Pair) -> None:
    """One key has one fingerprint; another key has another."""
    assert pair.publisher.fingerprint == pair.publisher.fingerprint
    assert pair.publisher.fingerprint.startswith("SHA256:")
    assert pair.publisher.fingerprint != pair.stranger.fingerprint
    assert pair.publisher.public_key != pair.stranger.public_key


def test_altered_payload_is_refused(pair: Pair) -> None:
    """One changed byte is enough."""
    with pytest.raises(BadSignature):
        pair.verifier.verify(NAME, PAYLOAD + b" ", pair.publisher.sign(NAME, PAYLOAD))


def test_swapped_subject_is_refused(pair: Pair) -> None:
    """A signature on one file does not vouch for another name."""
    with pytest.raises(BadSignature):
        pair.verifier.verify("inventory.json", PAYLOAD, pair.publisher.sign(NAME, PAYLOAD))


def test_unknown_signer_is_refused(pair: Pair) -> None:
    """A valid signature by an untrusted key is not enough."""
    with pytest.raises(UnknownSigner):
        pair.verifier.verify(NAME, PAYLOAD, pair.stranger.sign(NAME, PAYLOAD))


@pytest.mark.parametrize("envelope", [b"", b"{}", b"[]", b"\xff", b"null", b'{"signatures":[]}'])
def test_no_envelope_is_refused(pair: Pair, envelope: bytes) -> None:
    """Anything that is no envelope is a bad signature, never a traceback."""
    with pytest.raises(BadSignature):
        pair.verifier.verify(NAME, PAYLOAD, envelope)
