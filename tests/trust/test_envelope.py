"""Signatures: what an attacker can do to an envelope, and what comes of it."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.digest import Digest
from modelvault.errors import (
    BadOption,
    BadSignature,
    KeyUnusable,
    UnknownSigner,
    UnsupportedVersion,
)
from modelvault.trust import envelope
from modelvault.trust.envelope import Envelope, Signature
from modelvault.trust.keys import LocalKey, PublicKey, parse_public_key
from modelvault.trust.policy import IntegrityVerifier, Policy, TrustPolicy

NAME = "index.json"
PAYLOAD = b'{"_type":"modelvault/bundle-index/v1"}'
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

ALICE, BOB, MALLORY = (LocalKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(3))


def _public(key: LocalKey) -> PublicKey:
    return parse_public_key(key.public_key)


def _policy(*trusted: LocalKey, threshold: int = 1, medium: LocalKey | None = None) -> TrustPolicy:
    publishers = [] if medium is None else [_public(medium)]
    return TrustPolicy(
        [_public(key) for key in trusted],
        Policy(threshold=threshold),
        publishers=publishers,
        trust_command="modelvault trust add /media/usb",
    )


def _edited(change: Callable[[dict[str, Any]], object], by: LocalKey = ALICE) -> bytes:
    fields = json.loads(by.sign(NAME, PAYLOAD))
    change(fields)
    return json.dumps(fields).encode()


def _statement(**changes: object) -> bytes:
    """Return an envelope that ALICE has signed around an edited statement."""
    fields = {**json.loads(envelope.encode_statement(NAME, PAYLOAD)), **changes}
    payload = json.dumps(fields).encode()
    value = ALICE.sign_bytes(envelope.pae(envelope.PAYLOAD_TYPE, payload))
    return Envelope(
        payload=payload, signatures=(Signature(keyid=ALICE.fingerprint, value=value),)
    ).encode()


def test_pae_equals_the_specification() -> None:
    """The pre-authentication encoding is the published example's, byte for byte."""
    encoded = envelope.pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_envelope_is_what_securesystemslib_reads() -> None:
    """Another implementation of DSSE verifies our envelope."""
    from securesystemslib.dsse import Envelope as Reference
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    fields = json.loads(ALICE.sign(NAME, PAYLOAD))
    parsed = Reference.from_dict(fields)
    key = SSlibKey(
        ALICE.fingerprint,
        "ecdsa",
        "ecdsa-sha2-nistp256",
        {"public": ALICE.public_key.decode()},
    )
    assert set(parsed.verify([key], 1)) == {ALICE.fingerprint}
    statement = json.loads(parsed.payload)
    assert statement["subject"] == [{"name": NAME, "digest": {"sha256": Digest.of(PAYLOAD).hex}}]


@given(st.binary(max_size=200), st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=80))))
def test_encoded_envelope_parses_to_itself(payload: bytes, pairs: list[tuple[str, bytes]]) -> None:
    """What is written is read back."""
    signatures = tuple(Signature(keyid=keyid, value=value) for keyid, value in pairs[:64])
    signatures = signatures or (Signature(keyid="", value=b"x"),)
    original = Envelope(payload=payload, signatures=signatures)
    try:
        encoded = original.encode()
    except UnicodeEncodeError:  # lone surrogates have no encoding
        return
    assert Envelope.parse(encoded) == original


@given(st.binary(max_size=300))
def test_random_bytes_are_no_envelope(data: bytes) -> None:
    """Whatever arrives, the answer is BadSignature."""
    with pytest.raises(BadSignature):
        Envelope.parse(data)


def test_attack_signature_stripped() -> None:
    """An envelope without signatures is none."""
    stripped = _edited(lambda fields: fields.update(signatures=[]))
    with pytest.raises(BadSignature, match="1 to 64"):
        _policy(ALICE).verify(NAME, PAYLOAD, stripped)


def test_attack_signed_by_a_stranger_without_a_key_on_the_medium() -> None:
    """The message shows the claimed key, says that it is a claim, and how to trust it."""
    with pytest.raises(UnknownSigner) as caught:
        _policy(ALICE).verify(NAME, PAYLOAD, MALLORY.sign(NAME, PAYLOAD))
    error = caught.value
    assert MALLORY.fingerprint in error.message
    assert "claims" in error.issues[0]
    assert error.hint.endswith(
        f"modelvault trust add /media/usb --fingerprint {MALLORY.fingerprint}"
    )


def test_attack_keyid_that_is_a_command_is_not_shown() -> None:
    """Only a well-formed fingerprint gets into the command the operator is told to run."""
    evil = "SHA256:x; rm -rf / \x1b[2J"
    forged = _edited(lambda fields: fields["signatures"][0].update(keyid=evil), by=MALLORY)
    with pytest.raises(UnknownSigner) as caught:
        _policy(ALICE).verify(NAME, PAYLOAD, forged)
    said = " ".join([caught.value.message, caught.value.hint, *caught.value.issues])
    assert "rm -rf" not in said
    assert "\x1b" not in said


def test_unknown_signer_whose_key_is_on_the_medium_is_named_by_its_key() -> None:
    """With the medium's key the fingerprint in the message is a verified one."""
    with pytest.raises(UnknownSigner) as caught:
        _policy(ALICE, medium=MALLORY).verify(NAME, PAYLOAD, MALLORY.sign(NAME, PAYLOAD))
    assert MALLORY.fingerprint in caught.value.message
    assert "aloud" in caught.value.issues[0]


def test_attack_medium_key_that_did_not_sign_is_a_bad_signature() -> None:
    """A key on the medium that signed nothing cannot pose as the signer."""
    with pytest.raises(BadSignature):
        _policy(ALICE, medium=BOB).verify(NAME, PAYLOAD, MALLORY.sign(NAME, PAYLOAD))


def test_attack_altered_payload() -> None:
    """A changed index no longer matches the signed digest."""
    with pytest.raises(BadSignature, match="changed after it was signed"):
        _policy(ALICE).verify(NAME, PAYLOAD.replace(b"v1", b"v2"), ALICE.sign(NAME, PAYLOAD))


def test_attack_altered_statement() -> None:
    """A statement rewritten to match another payload loses its signature."""
    other = base64.b64encode(envelope.encode_statement(NAME, b"evil")).decode()
    forged = _edited(lambda fields: fields.update(payload=other))
    with pytest.raises(BadSignature, match="no signature"):
        _policy(ALICE).verify(NAME, b"evil", forged)


def test_attack_swapped_subject() -> None:
    """A signed inventory does not pass for an index, even with the same bytes."""
    with pytest.raises(BadSignature, match=r"about 'inventory\.json'"):
        _policy(ALICE).verify(NAME, PAYLOAD, ALICE.sign("inventory.json", PAYLOAD))


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": []},
        {"subject": None},
        {"subject": [{"name": NAME, "digest": {"sha512": "00"}}]},
        {"subject": [{"name": NAME}]},
        {"subject": [{"name": NAME, "digest": {"sha256": 7}}]},
        {
            "subject": [
                {"name": NAME, "digest": {"sha256": Digest.of(PAYLOAD).hex}},
                {"name": "evil", "digest": {"sha256": "00" * 32}},
            ]
        },
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"_type": "https://in-toto.io/Statement/v0.1"},
    ],
)
def test_attack_genuine_signature_on_another_kind_of_statement(changes: dict[str, object]) -> None:
    """A trusted key's signature made for another purpose vouches for nothing here."""
    with pytest.raises(BadSignature):
        _policy(ALICE).verify(NAME, PAYLOAD, _statement(**changes))


def test_attack_other_payload_type() -> None:
    """A signature over something that is no statement is not read as one."""
    payload = envelope.encode_statement(NAME, PAYLOAD)
    fields = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "application/json",
        "signatures": [
            {
                "keyid": ALICE.fingerprint,
                "sig": base64.b64encode(
                    ALICE.sign_bytes(envelope.pae("application/json", payload))
                ).decode(),
            }
        ],
    }
    with pytest.raises(BadSignature, match="in-toto"):
        _policy(ALICE).verify(NAME, PAYLOAD, json.dumps(fields).encode())


def test_attack_relabelled_keyid_gains_nothing() -> None:
    """A stranger's signature under a trusted key's id is a bad signature."""
    forged = _edited(
        lambda fields: fields["signatures"][0].update(keyid=ALICE.fingerprint), by=MALLORY
    )
    with pytest.raises(BadSignature):
        _policy(ALICE).verify(NAME, PAYLOAD, forged)
    with pytest.raises(BadSignature):
        _policy(ALICE, medium=BOB).verify(NAME, PAYLOAD, forged)


@pytest.mark.parametrize("keyid", ["", "something else", None])
def test_keyid_of_a_trusted_signature_does_not_matter(keyid: str | None) -> None:
    """The id is a hint: missing or unknown, the trusted key still verifies."""

    def relabel(fields: dict[str, Any]) -> None:
        fields["signatures"][0].update(keyid=keyid)
        if keyid is None:
            del fields["signatures"][0]["keyid"]

    verdict = _policy(BOB, ALICE).verify(NAME, PAYLOAD, _edited(relabel))
    assert verdict.trusted == (ALICE.fingerprint,)


def test_attack_malleated_base64() -> None:
    """Stray bits, white space and missing padding are refused: one form per value."""

    def last_bit(text: str) -> str:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        body = text.rstrip("=")
        assert body != text, "the payload must end in padding for this test"
        changed = alphabet[alphabet.index(body[-1]) ^ 1]
        return body[:-1] + changed + text[len(body) :]

    payload = PAYLOAD
    while len(envelope.encode_statement(NAME, payload)) % 3 == 0:
        payload += b" "
    for change in (
        last_bit,
        lambda text: text + "\n",
        lambda text: text.rstrip("="),
        lambda text: text[:10] + " " + text[10:],
        lambda text: text + "AAAA====",
        lambda text: "é" + text,
    ):
        statement = base64.b64encode(b"xxxx").decode()
        fields = {
            "payload": change(statement),
            "payloadType": envelope.PAYLOAD_TYPE,
            "signatures": [{"sig": "AAAA"}],
        }
        with pytest.raises(BadSignature, match="base64"):
            Envelope.parse(json.dumps(fields).encode())


def test_url_safe_base64_is_read_too() -> None:
    """Verifiers must accept both alphabets, though not mixed."""

    def respell(fields: dict[str, Any]) -> None:
        for holder, name in ((fields, "payload"), (fields["signatures"][0], "sig")):
            holder[name] = holder[name].replace("+", "-").replace("/", "_")

    assert _policy(ALICE).verify(NAME, PAYLOAD, _edited(respell)).trusted
    with pytest.raises(BadSignature):
        Envelope.parse(
            json.dumps(
                {
                    "payload": "-_+/",
                    "payloadType": envelope.PAYLOAD_TYPE,
                    "signatures": [{"sig": ""}],
                }
            ).encode()
        )


def test_unknown_fields_are_ignored() -> None:
    """Later versions may add fields; none of them changes the verdict."""
    extended = _edited(lambda fields: fields.update(extra={"deep": [1, 2]}))
    assert _policy(ALICE).verify(NAME, PAYLOAD, extended).trusted == (ALICE.fingerprint,)
    assert _policy(ALICE).verify(NAME, PAYLOAD, _statement(extra=1, predicate={"a": 1})).trusted


def test_attack_oversized_envelope() -> None:
    """An envelope beyond the limit is refused before it is parsed."""
    with pytest.raises(BadSignature, match="exceeds the limit"):
        Envelope.parse(b" " * (envelope.ENVELOPE_LIMIT + 1))


def test_attack_flood_of_signatures() -> None:
    """Sixty-five signatures are one too many, and one of a megabyte is too long."""
    flood = _edited(lambda fields: fields.update(signatures=fields["signatures"] * 65))
    with pytest.raises(BadSignature, match="1 to 64"):
        _policy(ALICE).verify(NAME, PAYLOAD, flood)
    long = _edited(lambda fields: fields["signatures"][0].update(sig="AAAA" * 200))
    with pytest.raises(BadSignature, match="600 bytes"):
        _policy(ALICE).verify(NAME, PAYLOAD, long)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"payload":"","payload":"AAAA","payloadType":"x","signatures":[]}',
        b'{"payload":' + b"9" * 5000 + b"}",
        b'{"payload":1,"payloadType":"application/vnd.in-toto+json","signatures":[{}]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[1]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":1}]}',
        b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":1}]}',
    ],
)
def test_attack_hostile_json(data: bytes) -> None:
    """Deep nesting, duplicate keys, huge numbers and wrong types are bad signatures."""
    with pytest.raises(BadSignature):
        _policy(ALICE).verify(NAME, PAYLOAD, data)


def test_attack_same_key_twice_does_not_reach_a_threshold_of_two() -> None:
    """Signatures count by key: repeated, re-signed or mirrored, one key stays one."""
    first, second = (Envelope.parse(ALICE.sign(NAME, PAYLOAD)) for _ in range(2))
    r, s = decode_dss_signature(first.signatures[0].value)
    mirrored = Signature(keyid="", value=encode_dss_signature(r, P256_ORDER - s))
    signatures = (*first.signatures, *first.signatures, *second.signatures, mirrored)
    padded = Envelope(payload=first.payload, signatures=signatures).encode()
    assert _policy(ALICE).verify(NAME, PAYLOAD, padded).signers == (ALICE.fingerprint,)
    with pytest.raises(UnknownSigner, match="1 of 2"):
        _policy(ALICE, BOB, threshold=2).verify(NAME, PAYLOAD, padded)


def test_two_signers_reach_a_threshold_of_two() -> None:
    """Envelopes made apart merge, and both signers count."""
    merged = envelope.merge_envelopes(ALICE.sign(NAME, PAYLOAD), BOB.sign(NAME, PAYLOAD))
    verdict = _policy(ALICE, BOB, threshold=2).verify(NAME, PAYLOAD, merged)
    assert verdict.trusted == tuple(sorted((ALICE.fingerprint, BOB.fingerprint)))
    assert envelope.merge_envelopes(merged, merged) == merged
    with pytest.raises(UnknownSigner, match="1 of 2") as caught:
        _policy(ALICE, threshold=2, medium=BOB).verify(NAME, PAYLOAD, merged)
    assert BOB.fingerprint in caught.value.hint


def test_attack_untrusted_second_signature_does_not_count() -> None:
    """A stranger cannot complete a threshold, nor spoil one that is reached."""
    merged = envelope.merge_envelopes(ALICE.sign(NAME, PAYLOAD), MALLORY.sign(NAME, PAYLOAD))
    with pytest.raises(UnknownSigner):
        _policy(ALICE, BOB, threshold=2).verify(NAME, PAYLOAD, merged)
    verdict = _policy(ALICE, medium=MALLORY).verify(NAME, PAYLOAD, merged)
    assert verdict.trusted == (ALICE.fingerprint,)
    assert set(verdict.signers) == {ALICE.fingerprint, MALLORY.fingerprint}


def test_envelopes_about_different_payloads_do_not_merge() -> None:
    """A signature is never moved onto another payload."""
    with pytest.raises(BadSignature, match="different payloads"):
        envelope.merge_envelopes(ALICE.sign(NAME, PAYLOAD), BOB.sign(NAME, b"other"))


@pytest.mark.parametrize("threshold", [0, -1, 65])
def test_threshold_that_lets_all_or_none_pass_is_refused(threshold: int) -> None:
    """No configuration switches the signature check off."""
    with pytest.raises(BadOption):
        Policy(threshold=threshold)


def test_integrity_check_trusts_nobody() -> None:
    """The medium's own key shows that bytes are intact; it earns no trust."""
    verifier = IntegrityVerifier(ALICE.public_key + BOB.public_key)
    merged = envelope.merge_envelopes(ALICE.sign(NAME, PAYLOAD), BOB.sign(NAME, PAYLOAD))
    verdict = verifier.verify(NAME, PAYLOAD, merged)
    assert verdict.trusted == ()
    assert verdict.signers == tuple(sorted((ALICE.fingerprint, BOB.fingerprint)))
    with pytest.raises(BadSignature):
        verifier.verify(NAME, PAYLOAD, MALLORY.sign(NAME, PAYLOAD))
    with pytest.raises(BadSignature):
        verifier.verify(NAME, PAYLOAD + b"x", ALICE.sign(NAME, PAYLOAD))
    with pytest.raises(KeyUnusable):
        IntegrityVerifier(b"no key")


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v2"},
        {"_type": "https://in-toto.io/Statement/v1.1"},
        {"predicateType": "https://modelvault.dev/signed-payload/v2", "predicate": {"new": 1}},
    ],
)
def test_newer_statement_of_a_believed_signer_asks_for_an_update(
    changes: dict[str, object],
) -> None:
    """What is newer is not forged; but only a signature that holds may say so."""
    signed = _statement(**changes)
    for verifier in (_policy(ALICE), IntegrityVerifier(ALICE.public_key)):
        with pytest.raises(UnsupportedVersion) as caught:
            verifier.verify(NAME, PAYLOAD, signed)
        assert "update ModelVault" in caught.value.hint
    with pytest.raises(UnknownSigner):
        _policy(BOB).verify(NAME, PAYLOAD, signed)
    with pytest.raises(UnknownSigner):
        _policy(ALICE, BOB, threshold=2).verify(NAME, PAYLOAD, signed)
    forged = json.loads(signed)
    forged["signatures"][0]["sig"] = json.loads(BOB.sign(NAME, PAYLOAD))["signatures"][0]["sig"]
    with pytest.raises(BadSignature):
        _policy(ALICE).verify(NAME, PAYLOAD, json.dumps(forged).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"_type": "https://in-toto.example/Statement/v2"},
        {"predicateType": "https://modelvault.dev/signed-payload/v"},
        {"predicateType": "https://modelvault.dev/other/v2"},
    ],
)
def test_other_statement_is_no_newer_one(changes: dict[str, object]) -> None:
    """Another type is refused as a signature about something else."""
    with pytest.raises(BadSignature):
        _policy(ALICE).verify(NAME, PAYLOAD, _statement(**changes))
