"""model.sig: the reference implementation of OpenSSF Model Signing is the judge."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.errors import BadOption
from modelvault.trust.keys import LocalKey, generate_key, parse_public_key
from modelvault.trust.oms import is_signature_of, model_signature, restore_signature, sign_model
from tests.support.modelsigning import find_reference, verify_model

FILES = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "LICENSE": b"terms\n",
    "a.txt": b"sorts after the folder a\n",
    "a/b.json": b"{}",
    "config.json": b'{"model_type":"llama"}',
    "model.safetensors": bytes(range(256)) * 40,
    "sub/deep/한글.txt": b"unicode",
}


@pytest.fixture(scope="session")
def oracle() -> str:
    """Return a Python that has the reference implementation."""
    return find_reference()


@pytest.fixture
def key(tmp_path: Path) -> LocalKey:
    """Return a signing key whose public half stands in ``public.pem``."""
    key = generate_key(tmp_path / "keys")
    (tmp_path / "public.pem").write_bytes(key.public_key)
    return key


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model's folder."""
    folder = tmp_path / "model"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _manifest() -> Manifest:
    return Manifest.of(
        FileEntry(path=path, digest=Digest.of(data), size=len(data)) for path, data in FILES.items()
    )


def _verify(oracle: str, model: Path) -> "subprocess.CompletedProcess[str]":
    assert oracle
    return verify_model(model, model.parent / "public.pem")


def test_reference_verifier_accepts_our_signature(oracle: str, model: Path, key: LocalKey) -> None:
    """The signature was made from digests alone; the reference re-hashes the folder."""
    (model / "model.sig").write_bytes(model_signature(_manifest(), key, name="model"))
    result = _verify(oracle, model)
    assert result.returncode == 0, result.stderr
    assert "succeeded" in result.stdout


def test_attack_changed_added_or_missing_file_fails_the_reference(
    oracle: str, model: Path, key: LocalKey
) -> None:
    """What the reference accepts is this folder and no other."""
    (model / "model.sig").write_bytes(model_signature(_manifest(), key, name="model"))
    (model / "config.json").write_bytes(b'{"model_type":"evil!"}')
    assert _verify(oracle, model).returncode != 0
    (model / "config.json").write_bytes(FILES["config.json"])
    (model / "extra.py").write_bytes(b"")
    assert _verify(oracle, model).returncode != 0
    (model / "extra.py").unlink()
    (model / "a" / "b.json").unlink()
    assert _verify(oracle, model).returncode != 0


def test_attack_other_key_fails_the_reference(oracle: str, model: Path, key: LocalKey) -> None:
    """A signature by another key is refused."""
    other = generate_key(model.parent / "other")
    assert other.fingerprint != key.fingerprint
    (model / "model.sig").write_bytes(model_signature(_manifest(), other, name="model"))
    assert _verify(oracle, model).returncode != 0


def test_statement_equals_the_reference_signer(oracle: str, model: Path, key: LocalKey) -> None:
    """Both signers list the same files in the same order under the same digest."""
    command = [oracle, "-m", "model_signing", "sign", "key", str(model)]
    command += ["--signature", str(model / "model.sig")]
    command += ["--private_key", str(model.parent / "keys" / "signing.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    theirs = _statement((model / "model.sig").read_bytes())
    ours = _statement(model_signature(_manifest(), key, name="model"))
    theirs["predicate"]["serialization"]["ignore_paths"].sort()
    ours["predicate"]["serialization"]["ignore_paths"].sort()
    assert ours == theirs


def test_manifest_with_nothing_to_sign_is_refused(key: LocalKey) -> None:
    """A signature over no files would verify an empty folder."""
    ignored = Manifest.of([FileEntry(path=".gitattributes", digest=Digest.of(b""), size=0)])
    for manifest in (Manifest.of([]), ignored):
        with pytest.raises(BadOption):
            model_signature(manifest, key, name="model")


def test_signature_lists_every_signed_file(key: LocalKey) -> None:
    """Without the reference at hand: the statement holds the manifest's digests."""
    statement = _statement(model_signature(_manifest(), key, name="model"))
    listed = {item["name"]: item["digest"] for item in statement["predicate"]["resources"]}
    assert listed == {
        path: Digest.of(data).hex for path, data in FILES.items() if path != ".gitattributes"
    }


def _statement(data: bytes) -> dict[str, Any]:
    bundle = json.loads(data)
    result = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert isinstance(result, dict)
    return result


def test_signature_travels_without_what_it_is_about(
    oracle: str, model: Path, key: LocalKey
) -> None:
    """Its own bytes, the files and the name make the whole again, and the reference accepts it."""
    public = parse_public_key(key.public_key)
    signature = sign_model(_manifest(), key, name="acme/model@1")
    assert len(signature) < 80
    restored = restore_signature(_manifest(), public, signature, name="acme/model@1")
    assert restored is not None
    assert is_signature_of(restored, _manifest(), public, name="acme/model@1")
    (model / "model.sig").write_bytes(restored)
    assert _verify(oracle, model).returncode == 0


def test_attack_signature_of_other_files_name_or_key_is_not_restored(
    model: Path, key: LocalKey
) -> None:
    """It is about exactly one list of files under one name, by one key."""
    public = parse_public_key(key.public_key)
    signature = sign_model(_manifest(), key, name="acme/model")
    fewer = Manifest.of(_manifest().files[:-1])
    other = parse_public_key(generate_key(model.parent / "other").public_key)
    assert restore_signature(fewer, public, signature, name="acme/model") is None
    assert restore_signature(_manifest(), public, signature, name="acme/other") is None
    assert restore_signature(_manifest(), other, signature, name="acme/model") is None
    assert restore_signature(_manifest(), public, b"no signature", name="acme/model") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b'{"dsseEnvelope":{}}',
        b'{"dsseEnvelope":{"signatures":[]}}',
        b'{"dsseEnvelope":{"signatures":[{"sig":7}]}}',
        b'{"dsseEnvelope":{"signatures":[{"sig":"*"}]}}',
        b"[" * 100_000,
    ],
)
def test_attack_hostile_file_under_its_name_is_no_signature(key: LocalKey, data: bytes) -> None:
    """What stands in a runtime's folder is anybody's."""
    public = parse_public_key(key.public_key)
    assert not is_signature_of(data, _manifest(), public, name="acme/model")
    whole = model_signature(_manifest(), key, name="acme/model")
    assert not is_signature_of(whole + b" ", _manifest(), public, name="acme/model")
