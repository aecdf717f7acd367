"""The ports between the rooms: tiny interfaces, each with a real adapter and a fake.

A port stands here when the room that calls it may not import the room that implements it:
bundles are signed by ``trust``, and everything reports to displays of ``cli``; ``app`` hands
the adapters over. Every adapter passes the contract suite of its port in ``tests/contracts``.
What ``app`` itself calls, and what speaks of a room's own types, is declared in that room:
``sources.source.Source`` and ``targets.runtime.Runtime``.
"""

from dataclasses import dataclass
from typing import Protocol

from modelvault.core.protocol import Stepped


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """A part of a task is tried again."""

    reason: str
    """Why, in a few words, for people and counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Bytes turn out to be here: an earlier run brought them, nothing was moved for them now."""


ProgressEvent = Retried | Stepped | Held


class Progress(Protocol):
    """Where long work reports to. Calls may come from several threads."""

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Announce a task.

        Args:
            task: What is being done, unique while it lasts: a path, a blob, a step.
            total: Bytes it will take, or None when unknown.
            done: Bytes that an earlier run has already done.
        """

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Report how a task went on; a task that is not under way is ignored.

        Args:
            task: As it was announced.
            amount: More bytes; negative when work has to be repeated, 0 where only ``event``
                is news.
            event: What happened besides: a part is tried again, a step was done of work
                whose bytes come seldom, or the bytes were here before.
        """

    def end(self, task: str, *, note: str = "") -> None:
        """Announce that a task is over; ``note`` says how, where that is of interest."""


class Silence:
    """A ``Progress`` that shows nothing."""

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Ignore a task."""

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Ignore bytes and events."""

    def end(self, task: str, *, note: str = "") -> None:
        """Ignore an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier says of a signature that is mathematically valid."""

    signers: tuple[str, ...]
    """Fingerprints of the keys whose signatures verify, sorted."""
    trusted: tuple[str, ...]
    """Those of ``signers`` that the policy trusts; empty for a bare integrity check."""


class Signer(Protocol):
    """Signs payloads with one private key."""

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of the public key, as people compare it."""

    @property
    def public_key(self) -> bytes:
        """The public key as PEM (SubjectPublicKeyInfo)."""

    def sign(self, name: str, payload: bytes) -> bytes:
        """Return a DSSE envelope around an in-toto statement about ``payload``.

        Args:
            name: The subject's name in the statement, such as ``index.json``.
            payload: The bytes that are vouched for.
        """


class Verifier(Protocol):
    """Checks envelopes against a policy."""

    def verify(self, name: str, payload: bytes, envelope: bytes) -> Verdict:
        """Return who signed ``payload``.

        Raises:
            BadSignature: The envelope is malformed, names another subject or digest, or no
                signature in it verifies.
            UnknownSigner: Valid signatures, but none by a key the policy trusts.
        """
