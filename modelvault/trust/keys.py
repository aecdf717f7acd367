"""Keys: ECDSA P-256, as PEM files, named by the fingerprint that people compare.

One kind of key only. P-256 is what DSSE, OpenSSF Model Signing, smart cards and
FIPS-minded sites all accept, and a verifier without a choice cannot be talked into a
weaker one.

Invariants:
    * A ``PublicKey`` or ``LocalKey`` that exists holds a valid point on P-256.
    * A private key is loaded only from a file that its owner alone can read.
    * The fingerprint is ``SHA256:`` and the unpadded base64 of the sha256 over the DER
      SubjectPublicKeyInfo.

Source: RFC 5480 (SubjectPublicKeyInfo), RFC 5958 (PKCS#8), FIPS 186-5 (ECDSA).
"""

import base64
import binascii
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelvault import fsio
from modelvault.errors import BadOption, KeyNotFound, KeyUnusable
from modelvault.trust import envelope

KEY_LIMIT = 64 * 1024
"""Largest key file that is read, in bytes."""
MOST_KEYS_IN_FILE = 16
"""Public keys that one PEM file may hold: a bundle's co-signers stand in one file."""

_FINGERPRINT_PREFIX = "SHA256:"
_PUBLIC_BLOCK = re.compile(
    rb"-----BEGIN PUBLIC KEY-----\r?\n[A-Za-z0-9+/=\r\n]{1,8192}-----END PUBLIC KEY-----"
)
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KIND_HINT = "use an ECDSA P-256 key, such as 'modelvault key generate' makes"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A P-256 public key; get one from ``parse_public_keys``."""

    pem: bytes
    """SubjectPublicKeyInfo as PEM, re-encoded, so that one key has one spelling."""
    fingerprint: str
    """``SHA256:…``, as people compare it."""
    _key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether ``signature`` (ECDSA with SHA-256, DER) is this key's over ``data``."""
        try:
            self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class LocalKey:
    """A private key held by this process; it is a ``Signer``."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        """Take a private key.

        Args:
            private_key: On P-256; it stays in this process.

        Raises:
            KeyUnusable: It is not on P-256.
        """
        self._private_key = private_key
        self._public = _adopt(private_key.public_key(), where="private key")

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of the public key, as people compare it."""
        return self._public.fingerprint

    @property
    def public_key(self) -> bytes:
        """The public key as PEM (SubjectPublicKeyInfo)."""
        return self._public.pem

    def sign(self, name: str, payload: bytes) -> bytes:
        """Return a DSSE envelope around an in-toto statement about ``payload``.

        Args:
            name: The subject's name in the statement, such as ``index.json``.
            payload: The bytes that are vouched for.
        """
        statement = envelope.encode_statement(name, payload)
        signature = self.sign_bytes(envelope.pae(envelope.PAYLOAD_TYPE, statement))
        signatures = (envelope.Signature(keyid=self.fingerprint, value=signature),)
        return envelope.Envelope(payload=statement, signatures=signatures).encode()

    def sign_bytes(self, data: bytes) -> bytes:
        """Return the ECDSA signature with SHA-256 over ``data``, DER-encoded."""
        return self._private_key.sign(data, ec.ECDSA(hashes.SHA256()))

    def private_pem(self, passphrase: bytes | None) -> bytes:
        """Return the private key as PKCS#8 PEM, encrypted where a passphrase is given."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self._private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )


def generate_key(
    folder: Path, *, name: str = "signing", passphrase: bytes | None = None
) -> LocalKey:
    """Make a key pair; its private key stands in ``folder/name.pem`` on return, durably.

    The folder is created where it is missing and closed to everybody but its owner.

    Args:
        folder: Where to put the key.
        name: File name without suffix.
        passphrase: Encrypts the file; None leaves it to the file's permissions.

    Raises:
        BadOption: ``name`` is no plain file name.
        KeyUnusable: A key stands there already: it is never overwritten.
        VaultBusy: Another process is making a key there.
        StorageError: The file system refuses.
    """
    if not _LABEL.fullmatch(name):
        raise BadOption(f"{name!r} cannot name a key", hint="use a-z, 0-9, '_' and '-'")
    key = LocalKey(ec.generate_private_key(ec.SECP256R1()))
    target = folder / f"{name}.pem"
    make_private(folder)
    with fsio.lock(folder / "keys.lock", wait=5.0):
        if target.exists() or target.is_symlink():
            raise KeyUnusable(
                f"{target}: a key stands here already and is not overwritten",
                hint="use it, or move it away first; what it signed stays valid",
            )
        fsio.write_durably(target, key.private_pem(passphrase), mode=0o600)
    return key


def load_key(path: Path, *, passphrase: bytes | None = None) -> LocalKey:
    """Return the private key in a PKCS#8 PEM file.

    Raises:
        KeyNotFound: There is no such file.
        KeyUnusable: Others can read it, it needs a passphrase, or it is no P-256 key.
        StorageError: The file system refuses.
    """
    try:
        data, mode = _read_regular(path)
    except FileNotFoundError as error:
        raise KeyNotFound(
            f"{path}: no private key here", hint="make one with 'modelvault key generate'"
        ) from error
    if mode & 0o077:
        raise KeyUnusable(
            f"{path}: others on this host can read this private key (mode {mode & 0o777:o})",
            hint=f"chmod 600 {path} if no other account can have read it; otherwise make a new key",
        )
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except TypeError as error:  # a passphrase is missing, or given for a plain key
        raise KeyUnusable(f"{path}: {error}", hint="check the key's passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(
            f"{path}: not a private key in PEM form, or the passphrase is wrong", hint=_KIND_HINT
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyUnusable(f"{path}: {type(key).__name__} is not of a usable kind", hint=_KIND_HINT)
    return LocalKey(key)


def parse_public_key(pem: bytes, *, where: str = "public key") -> PublicKey:
    """Return the one public key in ``pem``.

    Args:
        pem: SubjectPublicKeyInfo in PEM form.
        where: What is parsed, for messages.

    Raises:
        KeyUnusable: Not exactly one key, not PEM, or not P-256.
    """
    keys = parse_public_keys(pem, where=where)
    if len(keys) != 1:
        raise KeyUnusable(f"{where}: holds {len(keys)} keys", hint="say which by its fingerprint")
    return keys[0]


def parse_public_keys(pem: bytes, *, where: str = "public key") -> tuple[PublicKey, ...]:
    """Return the public keys in ``pem``, in order; a bundle's co-signers share one file.

    Args:
        pem: One or more PEM blocks.
        where: What is parsed, for messages.

    Raises:
        KeyUnusable: No key, too many, not PEM, or not P-256.
    """
    if len(pem) > KEY_LIMIT:
        raise KeyUnusable(f"{where}: {len(pem)} bytes are too many for a key file")
    if b"PRIVATE KEY-----" in pem:
        raise KeyUnusable(
            f"{where}: holds a private key",
            hint="private keys never leave their host: use 'modelvault key export'",
        )
    blocks = _PUBLIC_BLOCK.findall(pem)
    if not 1 <= len(blocks) <= MOST_KEYS_IN_FILE:
        raise KeyUnusable(
            f"{where}: holds {len(blocks)} public keys; 1 to {MOST_KEYS_IN_FILE} are expected",
            hint="a public key starts with -----BEGIN PUBLIC KEY-----",
        )
    keys: dict[str, PublicKey] = {}
    for block in blocks:
        try:
            loaded = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyUnusable(f"{where}: not a usable public key", hint=_KIND_HINT) from error
        key = _adopt(loaded, where=where)
        keys[key.fingerprint] = key
    return tuple(keys.values())


def fingerprint_hex(fingerprint: str) -> str:
    """Return the 64 hexadecimal digits of a fingerprint, however it is spelled.

    Accepts ``SHA256:<base64>`` and hexadecimal with spaces, colons or dashes between the
    digits, so that what was read over a telephone can be typed as it was heard.

    Raises:
        BadOption: The text is not a whole fingerprint.
    """
    text = fingerprint.strip()
    if text.startswith(_FINGERPRINT_PREFIX):
        encoded = text.removeprefix(_FINGERPRINT_PREFIX).rstrip("=")
        try:
            raw = base64.b64decode(encoded + "=", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) == hashlib.sha256().digest_size and _spell(raw) == f"SHA256:{encoded}":
            return raw.hex()
    digits = re.sub(r"[\s:-]", "", text).lower()
    if re.fullmatch(r"[0-9a-f]{64}", digits):
        return digits
    raise BadOption(
        f"{fingerprint!r} is not a fingerprint",
        hint="write SHA256: and 43 characters, or all 64 hexadecimal digits",
    )


def parse_fingerprint(text: str) -> str:
    """Return a fingerprint in its ``SHA256:…`` spelling, however it was written.

    Raises:
        BadOption: The text is not a whole fingerprint.
    """
    return _spell(bytes.fromhex(fingerprint_hex(text)))


def spoken_fingerprint(fingerprint: str) -> str:
    """Return a fingerprint as sixteen groups of four hexadecimal digits.

    Base64 tells small letters from capitals, which a telephone does not: the groups are
    for reading aloud.
    """
    digits = fingerprint_hex(fingerprint)
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def make_private(folder: Path) -> None:
    """Create a folder for keys where it is missing, and close it to everybody else."""
    fsio.make_folder(folder)
    with fsio.storage_errors(folder):
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)


def read_key_file(path: Path) -> bytes:
    """Return the bytes of a public key file from outside, bounded.

    Raises:
        KeyUnusable: Not a regular file, or longer than ``KEY_LIMIT``.
        FileNotFoundError: There is none.
        StorageError: The file system refuses.
    """
    return _read_regular(path)[0]


def _read_regular(path: Path) -> tuple[bytes, int]:
    # A medium may hold a pipe or a device under a key's name: never block, never follow.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    if path.is_symlink():
        raise KeyUnusable(f"{path}: a symbolic link: refused", hint="name the key file itself")
    with fsio.storage_errors(path):
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise KeyUnusable(f"{path}: not a regular file")
            data = file.read(KEY_LIMIT + 1)
    if len(data) > KEY_LIMIT:
        raise KeyUnusable(f"{path}: longer than {KEY_LIMIT} bytes: not a key file")
    return data, stat.S_IMODE(mode)


def _adopt(key: object, *, where: str) -> PublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        kind = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
        raise KeyUnusable(f"{where}: {kind} is not of a usable kind", hint=_KIND_HINT)
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(pem=pem, fingerprint=_spell(hashlib.sha256(der).digest()), _key=key)


def _spell(digest: bytes) -> str:
    return _FINGERPRINT_PREFIX + base64.b64encode(digest).decode("ascii").rstrip("=")
