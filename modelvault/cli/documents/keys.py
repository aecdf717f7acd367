"""What ``key`` and ``trust`` print."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from modelvault.app.keys import OwnKey
from modelvault.cli.documents.document import Document
from modelvault.trust.keystore import TrustedKey as KeptKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey(Document):
    """This site's signing key."""

    fingerprint: str
    """``SHA256:…``"""
    spoken: str
    """The fingerprint, to be read out."""
    public_key: str
    """PEM."""
    new: bool
    """Whether it was made now."""

    @classmethod
    def of(cls, key: OwnKey) -> Self:
        """Return a key for programs."""
        return cls(
            fingerprint=key.fingerprint,
            spoken=key.spoken,
            public_key=key.public_key.decode("ascii"),
            new=key.created,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedKey(Document):
    """A public key that was written to a file."""

    file: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedKey(Document):
    """A key that is trusted from now on, or no longer."""

    fingerprint: str
    label: str
    """Whose key it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey(Document):
    """A key that is trusted."""

    fingerprint: str
    label: str
    """Whose key it is."""
    added_at: dt.datetime

    @classmethod
    def of(cls, key: KeptKey) -> Self:
        """Return a key for programs."""
        return cls(fingerprint=key.fingerprint, label=key.label, added_at=key.added)
