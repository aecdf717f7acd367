"""Where things stand in a vault's folder; pure path arithmetic.

::

    blobs/sha256/ab/abcd…      published bytes, read-only, named by their digest
    partial/<key>              bytes on their way in, with <key>.journal and <key>.lock
    partial/convert-<parent>-<key>/    where a converter works, with its .lock
    quarantine/                bytes that failed a check, with a note of why
    keys/                      this site's signing key, the keys it trusts, their serials
    catalog.db, config.toml
    vault.json                 who the vault is, and where its catalogue stands
    vault.lock                 shared by writers, exclusive for gc
"""

import re
from dataclasses import dataclass
from pathlib import Path

from modelvault.core.digest import Digest

READ_ONLY = 0o444
"""Permission bits of a published blob."""

_CONVERSION = re.compile(r"convert-([0-9a-f]{64})-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class VaultPaths:
    """Paths below one vault folder."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Folder of all published blobs."""
        return self.root / "blobs" / "sha256"

    @property
    def partials(self) -> Path:
        """Folder of bytes on their way in."""
        return self.root / "partial"

    @property
    def quarantine(self) -> Path:
        """Folder of bytes that failed a check."""
        return self.root / "quarantine"

    @property
    def keys(self) -> Path:
        """Folder of the signing key and of trusted keys."""
        return self.root / "keys"

    @property
    def catalog(self) -> Path:
        """The SQLite catalogue."""
        return self.root / "catalog.db"

    @property
    def identity(self) -> Path:
        """Who the vault is; see ``store.identity``."""
        return self.root / "vault.json"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / "config.toml"

    @property
    def lock(self) -> Path:
        """The store's lock file."""
        return self.root / "vault.lock"

    def blob(self, digest: Digest) -> Path:
        """Path of one blob."""
        return Path(self.blob_name(digest))

    def blob_name(self, digest: Digest) -> str:
        """Path of one blob as text, where there are many: a ``Path`` takes longer than a look."""
        return f"{self.root}/blobs/sha256/{digest.hex[:2]}/{digest.hex}"


def conversion_name(parent: Digest, key: str) -> str:
    """Return the name of a converter's folder.

    Args:
        parent: Identity of what is converted.
        key: 16 hexadecimal digits that name the work.
    """
    return f"convert-{parent.hex}-{key}"


def parent_of_conversion(name: str) -> Digest | None:
    """Return what is converted in the folder of this name; None for any other name."""
    match = _CONVERSION.fullmatch(name)
    return Digest(match[1]) if match else None
