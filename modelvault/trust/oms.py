"""OpenSSF Model Signing: a ``model.sig`` that the reference verifier accepts.

The vault knows every file's sha256 already, so the signature is made from the manifest,
without a second read of the weights, and without the reference implementation's
dependencies.

Format: a Sigstore bundle around a DSSE envelope around an in-toto statement, whose
predicate lists the files. The subject's digest is the sha256 over the files' raw digests
in the order they are listed. The statement follows from the files and the model's name alone,
so the signature's own bytes can travel without it.

Source: https://github.com/sigstore/model-transparency (model_signing 1.1.1)
"""

import base64
import binascii
import hashlib
import json

from modelvault.core.json_bounds import check_bounds
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.errors import BadOption, MalformedRecord
from modelvault.trust import envelope
from modelvault.trust.keys import LocalKey, PublicKey

SIGNATURE_NAME = "model.sig"
"""Name of the signature file beside the model's files."""
SIGNATURE_LIMIT = 64 * 1024 * 1024
"""Largest ``model.sig`` that is read, in bytes; each file takes some 150."""

_MOST_VALUES = 1_000_000
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_IGNORED = (SIGNATURE_NAME, ".git", ".gitattributes", ".github", ".gitignore")
"""What the reference verifier leaves out by default: signing it would make it fail."""


def model_signature(manifest: Manifest, key: LocalKey, *, name: str) -> bytes:
    """Return the ``model.sig`` of a model's files.

    Args:
        manifest: The files as they stand in the folder that will be verified.
        key: Signs.
        name: The model's name, for people; the verifier does not compare it.

    Raises:
        BadOption: The manifest holds nothing that can be signed.
    """
    statement = _statement(manifest, name)
    return _assemble(statement, key.public_key, sign_model(manifest, key, name=name))


def sign_model(manifest: Manifest, key: LocalKey, *, name: str) -> bytes:
    """Return the signature inside a ``model.sig``, ECDSA in DER, without what it is about.

    Raises:
        BadOption: The manifest holds nothing that can be signed.
    """
    return key.sign_bytes(_signed(_statement(manifest, name)))


def restore_signature(
    manifest: Manifest, key: PublicKey, signature: bytes, *, name: str
) -> bytes | None:
    """Return the ``model.sig`` whose inner signature is given; None where it does not verify.

    Args:
        manifest: The files as they stand in the folder that will be verified.
        key: Whose signature it is to be.
        signature: What ``sign_model`` returned.
        name: The model's name.

    Raises:
        BadOption: The manifest holds nothing that can be signed.
    """
    statement = _statement(manifest, name)
    if not key.verifies(signature, _signed(statement)):
        return None
    return _assemble(statement, key.pem, signature)


def is_signature_of(data: bytes, manifest: Manifest, key: PublicKey, *, name: str) -> bool:
    """Return whether ``data`` is a ``model.sig`` of these files by this key, as we write it.

    Args:
        data: What stands under the signature's name; from anywhere.
        manifest: The files.
        key: Whose signature it is to be.
        name: The model's name.

    Raises:
        BadOption: The manifest holds nothing that can be signed.
    """
    try:
        check_bounds(data, values=_MOST_VALUES)
        text = json.loads(data)["dsseEnvelope"]["signatures"][0]["sig"]
        signature = base64.b64decode(text, validate=True)
    except (
        MalformedRecord,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        RecursionError,
        binascii.Error,
    ):
        return False
    return restore_signature(manifest, key, signature, name=name) == data


def _signed(statement: bytes) -> bytes:
    return envelope.pae(envelope.PAYLOAD_TYPE, statement)


def _assemble(statement: bytes, public_key: bytes, signature: bytes) -> bytes:
    bundle = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {
            # The verifier compares this with the sha256 of the PEM text, not of the DER.
            "publicKey": {"hint": hashlib.sha256(public_key).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode("ascii"),
            "payloadType": envelope.PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode("ascii"), "keyid": ""}],
        },
    }
    return json.dumps(bundle, separators=(",", ":")).encode("utf-8")


def _statement(manifest: Manifest, name: str) -> bytes:
    files = sorted(
        (entry for entry in manifest.files if not _is_ignored(entry)),
        key=lambda entry: entry.path.split("/"),
    )
    if not files:
        raise BadOption(f"{name}: no files to sign")
    aggregate = hashlib.sha256()
    for entry in files:
        aggregate.update(bytes.fromhex(entry.digest.hex))
    statement = {
        "_type": envelope.STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": aggregate.hexdigest()}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(_IGNORED),
            },
            "resources": [
                {"name": entry.path, "algorithm": "sha256", "digest": entry.digest.hex}
                for entry in files
            ],
        },
    }
    return json.dumps(statement, separators=(",", ":")).encode("utf-8")


def _is_ignored(entry: FileEntry) -> bool:
    return entry.path.split("/", 1)[0] in _IGNORED
