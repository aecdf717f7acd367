"""What goes into the catalogue and comes out of it: values, never rows.

Importable without SQLAlchemy, so that listing stays quick.

Example:
    >>> Event(verb="pull", subject="org/name", details={"revision": "main"}).verb
    'pull'
"""

import datetime as dt
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName, Reference

_LOGIN_UID = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1

Clock = Callable[[], dt.datetime]
"""Tells the time, with its zone."""


def utc_now() -> dt.datetime:
    """Return the time in UTC."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedArtifact:
    """An artefact of the catalogue whose record a newer release wrote."""

    digest: Digest
    """Its identity."""
    label: str
    """``ORG/NAME@REVISION[:VARIANT]``, as the catalogue's columns say it."""
    reason: str
    """Which version its record is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, as the event log remembers it."""

    name: str
    """Account name."""
    host: str
    """Name of the machine."""

    @classmethod
    def current(cls) -> "Actor":
        """Return the account that logged in, whoever it has become since by ``sudo`` or ``su``.

        The kernel keeps it. Where it does not, as in containers, the account this process runs
        under acts; one that runs as root is believed when it says for whom: root could log
        anything. Nobody else's environment is, for any caller can set it.
        """
        login = _login_uid()
        if login is not None:
            name = _account(login)
        else:
            name = (_named_by_root() if os.geteuid() == 0 else "") or _account(os.getuid())
        return cls(name=name, host=os.uname().nodename)


def _login_uid() -> int | None:
    """Return who logged in, as the kernel keeps it; None where nobody did, or it does not say."""
    try:
        uid = int(_LOGIN_UID.read_text())
    except (OSError, ValueError):
        return None
    return None if uid == _NO_LOGIN else uid


def _named_by_root() -> str:
    """Return for whom root acts, as sudo, doas and pkexec say; empty where none does."""
    uid = os.environ.get("PKEXEC_UID", "")
    named = os.environ.get("SUDO_USER") or os.environ.get("DOAS_USER") or ""
    return named or (_account(int(uid)) if uid.isascii() and uid.isdigit() else "")


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, as the caller tells it; the catalogue adds the rest."""

    verb: str
    """What was done: ``pull``, ``import``, ``install`` …"""
    subject: str
    """What it was done to: a reference, a bundle's digest, a key's fingerprint."""
    details: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """One entry of the append-only log."""

    sequence: int
    """Position in the log; the first is 1."""
    time: dt.datetime
    actor: str
    host: str
    verb: str
    subject: str
    details: Mapping[str, str] = field(hash=False)
    hash: Digest
    """Digest over this entry and the hash of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """The end of the log at some time; kept elsewhere, it shows a log that was cut short."""

    sequence: int
    """Number of events; 0 for an empty log."""
    hash: Digest
    """Hash of the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogedArtifact:
    """An artefact with what the catalogue knows of it."""

    artifact: Artifact
    digest: Digest
    """Identity of the artefact."""
    size: int
    """Bytes of all its files."""
    file_count: int
    labels: tuple[str, ...]
    """Branches and tags that currently stand for its revision in this vault, sorted."""
    created_at: dt.datetime
    """When it was first catalogued here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingRow:
    """One line of ``modelvault list``."""

    reference: Reference
    """Full reference, revision included."""
    labels: tuple[str, ...]
    """Branches and tags that currently stand for the revision, sorted."""
    format: str
    quantization: str | None
    license: str | None
    """Licence tag."""
    digest: str
    """Identity of the artefact, as ``sha256:<hex>``."""
    size: int
    """Bytes of all its files."""
    file_count: int
    created_at: str
    """When it was first catalogued here: UTC, as ISO 8601."""
    targets: tuple[str, ...]
    """Runtimes it is installed into, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """How much one model takes."""

    model: ModelName
    artifacts: int
    """How many of it there are."""
    size: int
    """Bytes of all their files, each artefact on its own, as a list adds them up."""
    stored: int
    """Bytes of those files on the disk, where each is kept once."""
    shared: int
    """Of ``stored``, what other models hold, too: it stays when this one is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How much the artefacts of a vault take."""

    models: tuple[ModelUsage, ...]
    """Sorted by name."""
    stored: int
    """Bytes of all their files on the disk."""

    @property
    def size(self) -> int:
        """Bytes of all files, each artefact on its own."""
        return sum(model.size for model in self.models)

    @property
    def artifacts(self) -> int:
        """How many there are."""
        return sum(model.artifacts for model in self.models)


class Direction(StrEnum):
    """Which way a bundle went."""

    EXPORTED = "exported"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that left or entered this site."""

    index: Digest
    """Digest of the bundle's index."""
    direction: Direction
    serial: int
    """The publisher's running number."""
    publisher: str
    """Fingerprint of the publisher's key, ``SHA256:…``."""
    layout: str
    """``volumes``, ``plain`` or ``oci``."""
    location: str
    """Where it was written to or read from, for people."""
    artifacts: tuple[Digest, ...]
    """Identities of the artefacts in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBundle:
    """A bundle as the catalogue remembers it."""

    id: int
    bundle: Bundle
    created_at: dt.datetime
    """When it was exported or imported here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """An artefact put into a runtime, as the caller tells it."""

    artifact: Digest
    target: str
    """Name of the runtime: ``ollama``, ``vllm`` …"""
    name: str
    """What the runtime calls the model."""
    location: str
    """The runtime's folder or store."""
    receipt: bytes
    """What was done, so that it can be undone: canonical JSON, kept and returned verbatim.
    Only ``targets`` reads it, so that one from a newer release hides no other install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedInstall:
    """An install as the catalogue remembers it."""

    id: int
    install: Install
    installed_at: dt.datetime
    removed_at: dt.datetime | None
    """None while it is in use."""
