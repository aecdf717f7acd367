"""DSSE envelopes around in-toto statements: how signatures travel.

The bytes that are signed are the pre-authentication encoding of the payload type and the
statement; the statement names the payload and its sha256. Parsing is bounded and strict
where the specifications leave room, and lenient where they demand it: unknown fields are
ignored, both base64 alphabets are read.

Nothing in an envelope is believed because it stands there. ``keyid`` in particular is not
authenticated: it may choose which key is tried first, never whether one counts.

Source: https://github.com/secure-systems-lab/dsse (protocol 1.0.0, envelope 1.0.0),
https://in-toto.io/Statement/v1; ``docs/formats/signature.md`` states our choices.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import UPDATE
from modelvault.core.json_bounds import check_bounds
from modelvault.errors import BadSignature, MalformedRecord, UnsupportedVersion

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://modelvault.dev/signed-payload/v1"

ENVELOPE_LIMIT = 1024 * 1024
"""Largest envelope that is read, in bytes."""
MOST_SIGNATURES = 64
LONGEST_SIGNATURE = 512
"""Longest signature that is kept, in bytes; ours take at most 72."""

_NEWER = re.compile(r"v[1-9][0-9]{0,3}(\.[0-9]{1,4}){0,2}")
_HINT = "ask the publisher for the bundle again; do not import this one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature, as its envelope claims it."""

    keyid: str
    """Unauthenticated hint: by our signers the key's fingerprint; may be empty."""
    value: bytes
    """ECDSA with SHA-256, DER-encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A parsed envelope; nothing in it is verified."""

    payload: bytes
    """The serialised statement."""
    signatures: tuple[Signature, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What the signatures are made over."""
        return pae(PAYLOAD_TYPE, self.payload)

    def encode(self) -> bytes:
        """Return the envelope as canonical JSON."""
        return canonical.encode(
            {
                "payload": _encode64(self.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [
                    {"keyid": signature.keyid, "sig": _encode64(signature.value)}
                    for signature in self.signatures
                ],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Envelope":
        """Return the envelope in ``data``.

        Raises:
            BadSignature: Too long, not an envelope, or around something else than an
                in-toto statement.
        """
        if len(data) > ENVELOPE_LIMIT:
            raise BadSignature(
                f"a signature file of {len(data)} bytes exceeds the limit of {ENVELOPE_LIMIT}",
                hint=_HINT,
            )
        fields = _object(_load(data, "signature file"), "signature file")
        if _text(fields, "payloadType") != PAYLOAD_TYPE:
            raise BadSignature("signature file: not around an in-toto statement", hint=_HINT)
        items = fields.get("signatures")
        if not isinstance(items, list) or not 1 <= len(items) <= MOST_SIGNATURES:
            raise BadSignature(
                f"signature file: 1 to {MOST_SIGNATURES} signatures are expected", hint=_HINT
            )
        return cls(
            payload=_decode64(_text(fields, "payload"), "payload"),
            signatures=tuple(_parse_signature(item) for item in items),
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding of a payload and its type.

    Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode_statement(name: str, payload: bytes) -> bytes:
    """Return the in-toto statement about ``payload``, as canonical JSON.

    The same name and payload give the same bytes, so that signatures made apart can be
    merged into one envelope.
    """
    return canonical.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": Digest.of(payload).hex}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {},
        }
    )


def check_statement(statement: bytes, name: str, payload: bytes) -> None:
    """Check that a statement is about ``payload`` under ``name``, and nothing else.

    Raises:
        UnsupportedVersion: A newer version of the statement or of its predicate. That is to be
            believed only of a statement whose signature was.
        BadSignature: Another type, subject or digest.
    """
    fields = _object(_load(statement, "statement"), "statement")
    _check_type(_text(fields, "_type"), STATEMENT_TYPE, "type")
    _check_type(_text(fields, "predicateType"), PREDICATE_TYPE, "predicate")
    subjects = fields.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise BadSignature("statement: exactly one subject is expected", hint=_HINT)
    subject = _object(subjects[0], "statement.subject")
    if (found := _text(subject, "name")) != name:
        raise BadSignature(f"the signature is about {found[:100]!r}, not {name!r}", hint=_HINT)
    signed = _text(_object(subject.get("digest"), "statement.subject.digest"), "sha256")
    if signed != (actual := Digest.of(payload).hex):
        raise BadSignature(
            f"{name} was changed after it was signed: signed {signed[:64]!r}, found {actual}",
            hint=_HINT,
        )


def _check_type(found: str, known: str, name: str) -> None:
    """Compare a type that ends in ``/v1`` with the one that is known."""
    if found == known:
        return
    base, _, version = found.rpartition("/")
    if base == known.rpartition("/")[0] and _NEWER.fullmatch(version):
        raise UnsupportedVersion(f"statement: of {name} {found!r}, newer than {known}", hint=UPDATE)
    raise BadSignature(f"statement: unknown {name} {found[:100]!r}", hint=_HINT)


def merge_envelopes(first: bytes, second: bytes) -> bytes:
    """Return one envelope with the signatures of two, each signature once.

    Raises:
        BadSignature: One is no envelope, they are about different payloads, or together
            they hold too many signatures.
    """
    one, other = Envelope.parse(first), Envelope.parse(second)
    if one.payload != other.payload:
        raise BadSignature("the signatures are about different payloads: not merged")
    signatures = tuple(dict.fromkeys(one.signatures + other.signatures))
    if len(signatures) > MOST_SIGNATURES:
        raise BadSignature(f"more than {MOST_SIGNATURES} signatures on one payload")
    return Envelope(payload=one.payload, signatures=signatures).encode()


def _parse_signature(item: object) -> Signature:
    fields = _object(item, "signatures")
    keyid = fields.get("keyid", "")  # optional; unset means empty
    if not isinstance(keyid, str) or len(keyid) > LONGEST_SIGNATURE:
        raise BadSignature("signatures: 'keyid' must be a short string", hint=_HINT)
    value = _decode64(_text(fields, "sig"), "sig")
    if len(value) > LONGEST_SIGNATURE:
        raise BadSignature(f"signatures: a signature of {len(value)} bytes", hint=_HINT)
    return Signature(keyid=keyid, value=value)


def _load(data: bytes, where: str) -> object:
    try:
        check_bounds(data)
        value: object = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError, MalformedRecord) as error:
        raise BadSignature(f"{where}: not valid JSON: {error}", hint=_HINT) from error
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):  # two readers could each see another value
        raise ValueError("duplicate key in object")
    return result


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadSignature(f"{where}: an object is expected", hint=_HINT)
    return value


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadSignature(f"signature: '{name}' must be a string", hint=_HINT)
    return value


def _encode64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode64(text: str, name: str) -> bytes:
    # The decoder skips stray bits in the last character: only re-encoding shows them.
    alternative = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        data = base64.b64decode(text, altchars=alternative, validate=True)
        exact = base64.b64encode(data, altchars=alternative).decode("ascii") == text
    except (binascii.Error, ValueError) as error:
        raise BadSignature(f"signature: '{name}' is not base64: {error}", hint=_HINT) from error
    if not exact:
        raise BadSignature(f"signature: '{name}' is not in its one base64 form", hint=_HINT)
    return data
