"""OpenSSF Model Signing: a ``model.sig`` that the reference verifier accepts.

The vault knows every file's sha256 already, so the signature is made from the manifest,
without a second read of the weights, and without the reference implementation's
dependencies.

Format: a Sigstore bundle around a DSSE envelope around an in-toto statement, whose
predicate lists the files. The subject's digest is the sha256 over the files' raw digests
in the order they are listed.

Source: https://github.com/sigstore/model-transparency (model_signing 1.1.1)
"""

import base64
import hashlib
import json

from modelvault.core.manifest import FileEntry, Manifest
from modelvault.errors import BadOption
from modelvault.trust import envelope
from modelvault.trust.keys import LocalKey

SIGNATURE_NAME = "model.sig"
"""Name of the signature file beside the model's files."""

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
    files = sorted(
        (entry for entry in manifest.files if not _is_ignored(entry)),
        key=lambda entry: entry.path.split("/"),
    )
    if not files:
        raise BadOption(f"{name}: no files to sign")
    statement = _statement(files, name)
    signature = key.sign_bytes(envelope.pae(envelope.PAYLOAD_TYPE, statement))
    bundle = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {
            # The verifier compares this with the sha256 of the PEM text, not of the DER.
            "publicKey": {"hint": hashlib.sha256(key.public_key).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode("ascii"),
            "payloadType": envelope.PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode("ascii"), "keyid": ""}],
        },
    }
    return json.dumps(bundle, separators=(",", ":")).encode("utf-8")


def _statement(files: list[FileEntry], name: str) -> bytes:
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
