"""Digests: the identity of every byte string in a vault.

A vault names content by SHA-256 alone. Git's SHA-1 appears at one edge only: the Hub
has no other checksum for files outside LFS, so ``git_blob_hasher`` lets a pull check
those before it records their SHA-256.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from modelvault.errors import BadDigest

_HEX = re.compile(r"[0-9a-f]{64}")


class Hasher(Protocol):
    """The part of :mod:`hashlib` objects that this project uses."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in lower-case hexadecimal."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest, written ``sha256:<64 hex digits>``."""

    hex: str
    """64 lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        """Refuse anything that is not 64 lower-case hexadecimal digits."""
        if not _HEX.fullmatch(self.hex):
            raise BadDigest(f"{self.hex!r} is not a sha256 digest")

    def __str__(self) -> str:
        """Return ``sha256:<hex>``."""
        return f"sha256:{self.hex}"

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, for people."""
        return self.hex[:12]

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Return the digest written in ``text``.

        Raises:
            BadDigest: The text is not ``sha256:`` and 64 lower-case hex digits.
        """
        algorithm, separator, value = text.partition(":")
        if not separator or algorithm != "sha256":
            raise BadDigest(f"{text!r} is not a sha256 digest", hint="write sha256:<64 hex digits>")
        return cls(value)

    @classmethod
    def of(cls, data: bytes) -> "Digest":
        """Return the digest of a byte string."""
        return cls(hashlib.sha256(data).hexdigest())


def git_blob_hasher(size: int) -> Hasher:
    """Return a SHA-1 hasher primed with git's blob header.

    Args:
        size: Length of the file in bytes; git hashes it before the content.

    Source: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    """
    hasher = hashlib.sha1(usedforsecurity=False)
    hasher.update(b"blob %d\0" % size)
    return hasher
