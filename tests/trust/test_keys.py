"""Keys: one kind, private files, fingerprints that people can compare."""

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from modelvault.errors import (
    BadOption,
    FingerprintMismatch,
    KeyNotFound,
    KeyUnusable,
)
from modelvault.trust import keys
from modelvault.trust.keystore import Keystore, read_public_key

WHEN = datetime(2026, 11, 20, 12, 0, 5, 999, tzinfo=UTC)

VECTOR_PEM = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
"""
VECTOR_FINGERPRINT = "SHA256:XNJS+wzokyQ2+vjM0QQJgbie5K1rn+niorfnGqyyfNM"


def _pem(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _private_pem(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


Foreign = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

FOREIGN: dict[str, Callable[[], Foreign]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "k256": lambda: ec.generate_private_key(ec.SECP256K1()),
}


def test_generated_key_is_private_and_loads_again(tmp_path: Path) -> None:
    """The file is 0600 in a 0700 folder, and holds the same key."""
    key = keys.generate_key(tmp_path / "keys")
    path = tmp_path / "keys" / "signing.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert keys.load_key(path).fingerprint == key.fingerprint


def test_second_key_does_not_overwrite_the_first(tmp_path: Path) -> None:
    """A signing key is never lost to a repeated command."""
    key = keys.generate_key(tmp_path)
    with pytest.raises(KeyUnusable, match="not overwritten"):
        keys.generate_key(tmp_path)
    assert keys.load_key(tmp_path / "signing.pem").fingerprint == key.fingerprint


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "A" * 65])
def test_key_name_that_is_no_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    """A key's name cannot leave its folder."""
    with pytest.raises(BadOption):
        keys.generate_key(tmp_path, name=name)


def test_passphrase_protects_the_file(tmp_path: Path) -> None:
    """Without the passphrase, or with a wrong one, there is no key."""
    key = keys.generate_key(tmp_path, passphrase=b"correct horse")
    path = tmp_path / "signing.pem"
    assert b"ENCRYPTED" in path.read_bytes()
    for wrong in (None, b"", b"wrong"):
        with pytest.raises(KeyUnusable, match="passphrase"):
            keys.load_key(path, passphrase=wrong)
    assert keys.load_key(path, passphrase=b"correct horse").fingerprint == key.fingerprint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_private_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever can read the key can sign: it counts as leaked."""
    keys.generate_key(tmp_path)
    path = tmp_path / "signing.pem"
    path.chmod(mode)
    with pytest.raises(KeyUnusable, match="others on this host"):
        keys.load_key(path)


@pytest.mark.parametrize("kind", FOREIGN)
def test_attack_weaker_or_foreign_key_kind_is_refused(tmp_path: Path, kind: str) -> None:
    """Ed25519, RSA and other curves are refused, private and public."""
    private = FOREIGN[kind]()
    path = tmp_path / "key.pem"
    path.write_bytes(_private_pem(private))
    path.chmod(0o600)
    with pytest.raises(KeyUnusable):
        keys.load_key(path)
    with pytest.raises(KeyUnusable):
        keys.parse_public_key(_pem(private.public_key()))


def test_attack_dsa_key_is_refused() -> None:
    """A key kind that the library can load but nothing here can use."""
    with pytest.raises(KeyUnusable):
        keys.parse_public_key(_pem(dsa.generate_private_key(key_size=1024).public_key()))


def test_missing_and_damaged_key_files_have_their_errors(tmp_path: Path) -> None:
    """No file, no PEM, a truncated PEM: each says so."""
    with pytest.raises(KeyNotFound):
        keys.load_key(tmp_path / "none.pem")
    path = tmp_path / "key.pem"
    for content in (b"", b"hello", VECTOR_PEM, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyUnusable):
            keys.load_key(path)


def test_public_keys_of_co_signers_share_a_file() -> None:
    """Several PEM blocks are several keys; the same block twice is one."""
    other = _pem(ec.generate_private_key(ec.SECP256R1()).public_key())
    found = keys.parse_public_keys(VECTOR_PEM + other + VECTOR_PEM)
    assert [key.pem for key in found] == [VECTOR_PEM, other]
    with pytest.raises(KeyUnusable, match="2 keys"):
        keys.parse_public_key(VECTOR_PEM + other)
    with pytest.raises(KeyUnusable, match="17 public keys"):
        keys.parse_public_keys(VECTOR_PEM * 17)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"ssh-ed25519 AAAA",
        VECTOR_PEM[:-40],
        VECTOR_PEM.replace(b"MFkw", b"MFkx"),
        b"x" * (keys.KEY_LIMIT + 1),
    ],
)
def test_bytes_that_are_no_public_key_are_refused(pem: bytes) -> None:
    """Garbage is a KeyUnusable, not a traceback, whatever its size."""
    with pytest.raises(KeyUnusable):
        keys.parse_public_key(pem)


def test_attack_private_key_offered_as_public_is_refused(tmp_path: Path) -> None:
    """A private key in a public place is called out."""
    keys.generate_key(tmp_path)
    with pytest.raises(KeyUnusable, match="private key"):
        keys.parse_public_key((tmp_path / "signing.pem").read_bytes())


def test_fingerprint_of_the_vector_stays() -> None:
    """The fingerprint's definition never changes: it is printed on paper."""
    assert keys.parse_public_key(VECTOR_PEM).fingerprint == VECTOR_FINGERPRINT


@given(st.binary(min_size=32, max_size=32), st.sampled_from([" ", ":", "-", ""]))
def test_spoken_fingerprint_names_the_same_key(raw: bytes, separator: str) -> None:
    """What is read aloud, in any grouping and case, compares equal to the base64."""
    digits = raw.hex()
    groups = separator.join(digits[at : at + 4] for at in range(0, 64, 4)).upper()
    assert keys.fingerprint_hex(groups) == digits
    spelled = keys._spell(raw)
    assert keys.fingerprint_hex(spelled) == digits
    assert keys.parse_fingerprint(groups) == spelled
    assert keys.spoken_fingerprint(spelled).replace(" ", "") == digits


@pytest.mark.parametrize(
    "text",
    ["", "SHA256:", "SHA256:AAAA", "sha256:" + "A" * 43, "ab" * 31, "SHA256:" + "A" * 42 + "B"],
)
def test_part_of_a_fingerprint_is_no_fingerprint(text: str) -> None:
    """A comparison is over the whole fingerprint, in its one spelling."""
    with pytest.raises(BadOption):
        keys.fingerprint_hex(text)


def test_signing_key_is_made_once(tmp_path: Path) -> None:
    """The first call makes the key and says so; later ones return it."""
    keystore = Keystore(tmp_path / "keys")
    with pytest.raises(KeyNotFound):
        keystore.signing_key()
    key, created = keystore.signing_key(create=True)
    again, created_again = keystore.signing_key(create=True)
    assert (created, created_again) == (True, False)
    assert key.fingerprint == again.fingerprint


def test_trusted_keys_are_kept_and_forgotten(tmp_path: Path) -> None:
    """Trust is a file with label and date, and ends with it."""
    keystore = Keystore(tmp_path / "keys")
    assert keystore.trusted() == ()
    zone = timezone(timedelta(hours=9))
    item = keystore.trust(VECTOR_PEM, "ACME", VECTOR_FINGERPRINT, when=WHEN.astimezone(zone))
    assert item.added == WHEN.replace(microsecond=0)
    assert Keystore(tmp_path / "keys").trusted() == (item,)
    assert keystore.find("SHA256:XNJS") == keystore.find("XNJS") == item
    assert keystore.forget("XNJS") == item
    assert keystore.trusted() == ()
    with pytest.raises(KeyNotFound):
        keystore.forget("XNJS")


def test_ambiguous_prefix_forgets_nothing(tmp_path: Path) -> None:
    """Two keys under one prefix: the operator has to say more."""
    keystore = Keystore(tmp_path)
    seen: dict[str, str] = {}
    while True:
        other = keys.LocalKey(ec.generate_private_key(ec.SECP256R1()))
        first = other.fingerprint.removeprefix("SHA256:")[0]
        keystore.trust(other.public_key, "x", None, when=WHEN)
        if first in seen:
            break
        seen[first] = other.fingerprint
    held = keystore.trusted()
    with pytest.raises(BadOption, match="start of 2"):
        keystore.forget(first)
    with pytest.raises(BadOption, match="empty"):
        keystore.forget("SHA256:")
    assert keystore.trusted() == held


def test_attack_key_with_another_fingerprint_is_not_trusted(tmp_path: Path) -> None:
    """What the operator was told decides, not what the medium carries."""
    keystore = Keystore(tmp_path)
    other = keys.LocalKey(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(FingerprintMismatch) as caught:
        keystore.trust(other.public_key, "ACME", VECTOR_FINGERPRINT, when=WHEN)
    assert other.fingerprint in caught.value.message
    assert keystore.trusted() == ()


def test_fingerprint_chooses_among_co_signers(tmp_path: Path) -> None:
    """With several keys on a medium, the expected fingerprint says which is trusted."""
    keystore = Keystore(tmp_path)
    other = keys.LocalKey(ec.generate_private_key(ec.SECP256R1()))
    both = other.public_key + VECTOR_PEM
    with pytest.raises(KeyUnusable):
        keystore.trust(both, "ACME", None, when=WHEN)
    item = keystore.trust(both, "ACME", keys.spoken_fingerprint(VECTOR_FINGERPRINT), when=WHEN)
    assert item.fingerprint == VECTOR_FINGERPRINT


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "x" * 201, "\x1b[2J"])
def test_unprintable_label_is_refused(tmp_path: Path, label: str) -> None:
    """A label is shown on terminals and cannot drive them."""
    with pytest.raises(BadOption):
        Keystore(tmp_path).trust(VECTOR_PEM, label, None, when=WHEN)


def test_attack_renamed_or_altered_trust_file_stops_everything(tmp_path: Path) -> None:
    """A trust file that does not hold the key of its name is reported, not skipped."""
    keystore = Keystore(tmp_path)
    keystore.trust(VECTOR_PEM, "ACME", None, when=WHEN)
    (path,) = (tmp_path / "trusted").iterdir()
    good = path.read_bytes()
    other = keys.LocalKey(ec.generate_private_key(ec.SECP256R1()))
    swapped = good.replace(
        VECTOR_PEM.replace(b"\n", b"\\n"), other.public_key.replace(b"\n", b"\\n")
    )
    assert swapped != good
    for bad in (swapped, good[:-1], b"{}", good.replace(b"2026-11", b"2026-99")):
        path.write_bytes(bad)
        with pytest.raises(KeyUnusable, match=path.name):
            keystore.trusted()
    path.write_bytes(good)
    assert len(keystore.trusted()) == 1


def test_public_key_is_read_from_file_medium_and_bundle_folder(tmp_path: Path) -> None:
    """The operator names whatever is at hand."""
    folder = tmp_path / "medium" / "modelvault-bundle"
    folder.mkdir(parents=True)
    with pytest.raises(KeyNotFound):
        read_public_key(tmp_path / "medium")
    path = folder / "publisher.pem"
    path.write_bytes(VECTOR_PEM)
    for origin in (path, folder, tmp_path / "medium"):
        assert read_public_key(origin) == VECTOR_PEM
    with pytest.raises(KeyNotFound):
        read_public_key(tmp_path / "absent.pem")


def test_attack_pipe_link_or_endless_file_as_key_does_not_hang(tmp_path: Path) -> None:
    """A medium's key may be a pipe, a link to a device or huge: all are refused at once."""
    pipe = tmp_path / "pipe.pem"
    os.mkfifo(pipe)
    link = tmp_path / "link.pem"
    link.symlink_to("/dev/zero")
    huge = tmp_path / "huge.pem"
    with huge.open("wb") as file:
        file.truncate(10 * 1024**3)
    for path in (pipe, link, huge, Path("/dev/zero")):
        with pytest.raises(KeyUnusable):
            read_public_key(path)
