"""What any command may say on standard error: warnings, and the error that ended it."""

from dataclasses import dataclass
from typing import Literal, Self

from modelvault.cli.documents.document import Document
from modelvault.errors import ModelVaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent(Document):
    """Something that the user should know and that stops nothing."""

    event: Literal["warning"] = "warning"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(Document):
    """Why the command failed; the last event."""

    event: Literal["error"] = "error"
    error: str
    """Class, as docs/errors.md lists it."""
    message: str
    hint: str
    """What to do next; empty where there is nothing to say."""
    issues: tuple[str, ...]
    """Every finding of the run, one sentence each."""
    exit_code: int

    @classmethod
    def of(cls, error: ModelVaultError) -> Self:
        """Return an error as an event."""
        return cls(
            error=type(error).__name__,
            message=error.message,
            hint=error.hint,
            issues=error.issues,
            exit_code=error.exit_code,
        )
