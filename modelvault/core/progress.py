"""Progress as an interface: long work reports, somebody else draws."""

from typing import Protocol

from modelvault.core.protocol import Stepped


class Progress(Protocol):
    """Where long work reports to. Calls may come from several threads."""

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Announce a task.

        Args:
            task: What is being done, unique while it lasts: a path, a blob, a step.
            total: Bytes it will take, or None when unknown.
            done: Bytes that an earlier run has already done.
        """

    def advance(self, task: str, amount: int) -> None:
        """Report ``amount`` more bytes; negative when work has to be repeated."""

    def retry(self, task: str, reason: str) -> None:
        """Report that a part of a task is tried again; ``reason`` says why, in a few words.

        Only for people and counters: bytes that have to come again are reported by
        ``advance`` with a negative amount.
        """

    def step(self, step: Stepped) -> None:
        """Report a step of a task whose bytes come seldom; its target is the task."""

    def end(self, task: str, *, note: str = "") -> None:
        """Announce that a task is over; ``note`` says how, where that is of interest."""


class Silence:
    """A ``Progress`` that tells nobody."""

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Ignore a task."""

    def advance(self, task: str, amount: int) -> None:
        """Ignore bytes."""

    def retry(self, task: str, reason: str) -> None:
        """Ignore a retry."""

    def step(self, step: Stepped) -> None:
        """Ignore a step."""

    def end(self, task: str, *, note: str = "") -> None:
        """Ignore an end."""
