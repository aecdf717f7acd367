"""The keys of one vault: its own signing key, and the keys it trusts.

::

    keys/signing.pem           private key, readable by its owner alone
    keys/trusted/<hex>.json    one trusted public key, named by the sha256 that its
                               fingerprint spells; with its label and date

Invariant: a trusted key's file is named by the key inside it, so that renaming or copying
a file cannot make another key answer to a known fingerprint.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from modelvault import fsio
from modelvault.core import canonical
from modelvault.core.fields import Fields
from modelvault.core.medium import BUNDLE_FOLDER, PUBLISHER_KEY
from modelvault.errors import (
    BadOption,
    FingerprintMismatch,
    KeyNotFound,
    KeyUnusable,
    MalformedRecord,
)
from modelvault.trust import keys
from modelvault.trust.keys import LocalKey, PublicKey

_RECORD_TYPE = "modelvault/trusted-key/v1"
_LONGEST_LABEL = 200
_SIGNING = "signing"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key that an operator has decided to trust."""

    key: PublicKey
    label: str
    """Whose key it is, in the operator's words."""
    added: datetime
    """When it was trusted, in UTC, to the second."""

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of the key."""
        return self.key.fingerprint


class Keystore:
    """The ``keys`` folder of one vault."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; nothing is created before something is stored.

        Args:
            folder: The vault's folder of keys; it need not exist.
        """
        self._folder = folder
        self._trusted = folder / "trusted"

    def signing_key(
        self, *, create: bool = False, passphrase: bytes | None = None
    ) -> tuple[LocalKey, bool]:
        """Return this vault's signing key, and whether it was made just now.

        Args:
            create: Make one where there is none.
            passphrase: Of the key's file; None where it has none.

        Raises:
            KeyNotFound: There is none and ``create`` is False.
            KeyUnusable: The file is damaged, readable by others, or needs a passphrase.
            StorageError: The file system refuses.
        """
        path = self._folder / f"{_SIGNING}.pem"
        if create and not path.exists():
            return keys.generate_key(self._folder, name=_SIGNING, passphrase=passphrase), True
        return keys.load_key(path, passphrase=passphrase), False

    def trust(
        self, pem: bytes, label: str, expected_fingerprint: str | None, *, when: datetime
    ) -> TrustedKey:
        """Trust a public key from now on; return it.

        Trusting a key again only replaces its label.

        Args:
            pem: The key, or several keys of which ``expected_fingerprint`` chooses one.
            label: Whose key it is, in the operator's words.
            expected_fingerprint: What the operator was told over another channel; None
                where the operator has confirmed the key in another way.
            when: The time of the decision.

        Raises:
            FingerprintMismatch: No key in ``pem`` has the expected fingerprint.
            KeyUnusable: Not a P-256 public key in PEM form, or several without a choice.
            BadOption: The label is empty, too long or not printable.
            StorageError: The file system refuses.
        """
        if not label.strip() or len(label) > _LONGEST_LABEL or not label.isprintable():
            raise BadOption(f"a key's label has 1 to {_LONGEST_LABEL} printable characters")
        key = choose_key(pem, expected_fingerprint)
        added = when.astimezone(UTC).replace(microsecond=0)
        record = {
            "_type": _RECORD_TYPE,
            "label": label,
            "added": added.isoformat(),
            "public_key": key.pem.decode("ascii"),
        }
        keys.make_private(self._folder)
        fsio.make_folder(self._trusted)
        fsio.write_durably(self._path(key.fingerprint), canonical.encode(record))
        return TrustedKey(key=key, label=label, added=added)

    def trusted(self) -> tuple[TrustedKey, ...]:
        """Return the trusted keys, sorted by label.

        Raises:
            KeyUnusable: A file of the folder is damaged or does not hold the key that its
                name promises: it is named, and nothing is trusted until it is mended.
        """
        try:
            names = sorted(path for path in self._trusted.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return ()
        found = (_read_trusted(path) for path in names)
        return tuple(sorted(found, key=lambda item: (item.label, item.fingerprint)))

    def find(self, prefix: str) -> TrustedKey:
        """Return the one trusted key whose fingerprint starts with ``prefix``.

        Raises:
            KeyNotFound: None does.
            BadOption: Several do, or the prefix is empty.
        """
        start = prefix.removeprefix("SHA256:")
        if not start:
            raise BadOption("an empty fingerprint names no key")
        found = [
            item
            for item in self.trusted()
            if item.fingerprint.removeprefix("SHA256:").startswith(start)
        ]
        if not found:
            raise KeyNotFound(
                f"no trusted key has the fingerprint {prefix!r}", hint="see 'modelvault trust list'"
            )
        if len(found) > 1:
            raise BadOption(
                f"{prefix!r} is the start of {len(found)} fingerprints",
                hint="write more of it",
                issues=[f"{item.fingerprint} {item.label}" for item in found],
            )
        return found[0]

    def forget(self, prefix: str) -> TrustedKey:
        """Trust a key no longer; return it.

        Args:
            prefix: Start of its fingerprint, long enough to name one key.

        Raises:
            KeyNotFound: No trusted key has it.
            BadOption: Several do.
            StorageError: The file system refuses.
        """
        item = self.find(prefix)
        path = self._path(item.fingerprint)
        with fsio.storage_errors(path):
            path.unlink()
        fsio.sync_folder(self._trusted)
        return item

    def _path(self, fingerprint: str) -> Path:
        return self._trusted / f"{keys.fingerprint_hex(fingerprint)}.json"


def choose_key(pem: bytes, expected_fingerprint: str | None) -> PublicKey:
    """Return the key in ``pem`` that the operator means.

    Raises:
        FingerprintMismatch: No key in ``pem`` has the expected fingerprint.
        KeyUnusable: No usable key, or several without an expected fingerprint.
        BadOption: ``expected_fingerprint`` is not a whole fingerprint.
    """
    found = keys.parse_public_keys(pem)
    if expected_fingerprint is None:
        return keys.parse_public_key(pem)
    wanted = keys.fingerprint_hex(expected_fingerprint)
    for key in found:
        if keys.fingerprint_hex(key.fingerprint) == wanted:
            return key
    raise FingerprintMismatch(
        f"the key's fingerprint is {found[0].fingerprint}, not {expected_fingerprint}",
        hint="this is not the key you were told of: do not trust it, ask its owner again",
        issues=[f"offered: {key.fingerprint}" for key in found],
    )


def read_public_key(origin: Path) -> bytes:
    """Return the PEM of a public key given as a file, or as a medium that carries one.

    Args:
        origin: A PEM file, a medium's folder, or the bundle's folder on it.

    Raises:
        KeyNotFound: There is no such file, or no key on the medium.
        KeyUnusable: Not a regular file, or too long for a key.
        StorageError: The file system refuses.
    """
    candidates = [origin]
    if origin.is_dir():
        candidates = [origin / BUNDLE_FOLDER / PUBLISHER_KEY, origin / PUBLISHER_KEY]
    for path in candidates:
        try:
            return keys.read_key_file(path)
        except FileNotFoundError:
            continue
    raise KeyNotFound(
        f"{origin}: no public key here",
        hint=f"give a PEM file, or a folder with {BUNDLE_FOLDER}/{PUBLISHER_KEY}",
    )


def _read_trusted(path: Path) -> TrustedKey:
    data = keys.read_key_file(path)
    try:
        item = _parse_trusted(data)
    except (MalformedRecord, KeyUnusable, ValueError) as error:
        raise KeyUnusable(
            f"{path}: {error}", hint="remove the file, then trust the key again"
        ) from error
    if path.stem != keys.fingerprint_hex(item.fingerprint):
        raise KeyUnusable(
            f"{path}: holds another key than its name says",
            hint="another program changed the vault's trusted keys: check them all",
        )
    return item


def _parse_trusted(data: bytes) -> TrustedKey:
    fields = Fields(canonical.parse(data, limit=keys.KEY_LIMIT), where="trusted key")
    if fields.text("_type") != _RECORD_TYPE:
        raise MalformedRecord(f"not of type {_RECORD_TYPE}")
    item = TrustedKey(
        key=keys.parse_public_key(fields.text("public_key").encode("utf-8")),
        label=fields.text("label", longest=_LONGEST_LABEL),
        added=datetime.fromisoformat(fields.text("added", longest=40)),
    )
    fields.finish()
    return item
