"""Many pulls in one command: each has its own outcome, the worst one decides the status."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelvault.errors import Interrupted, ModelVaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One pull that did not end well."""

    subject: str
    """What was pulled, as the user named it."""
    error: ModelVaultError
    where: str = ""
    """Line of the list that names it; empty where there is none."""

    @property
    def label(self) -> str:
        """Where it was named, and what."""
        return f"{self.where}: {self.subject}" if self.where else self.subject


@contextlib.contextmanager
def collecting(failures: list[Failure], subject: str, *, where: str = "") -> Iterator[None]:
    """Keep an error of the block as a failure of ``subject``; a stop by the user goes on.

    Args:
        failures: Where it is kept.
        subject: What is pulled, as the user named it.
        where: Line of the list that names it.
    """
    try:
        yield
    except Interrupted:
        raise
    except ModelVaultError as error:
        failures.append(Failure(subject=subject, error=error, where=where))


def raise_worst(failures: Sequence[Failure], *, total: int) -> None:
    """Raise one error for all failures, if there are any.

    Its class is that of the failure with the highest exit status, the first of them where
    there are several.

    Args:
        failures: In the order in which they happened.
        total: How many pulls there were.

    Raises:
        ModelVaultError: There are failures; ``issues`` has each of them.
    """
    if not failures:
        return
    worst = max(failures, key=lambda failure: failure.error.exit_code).error
    raise type(worst)(
        f"{len(failures)} of {total} pulls failed",
        hint="run the same command again: what is done is not done twice"
        + (f"; {worst.hint}" if worst.hint else ""),
        issues=[f"{failure.label}: {failure.error.message}" for failure in failures],
    ) from worst
