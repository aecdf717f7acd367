"""The common options of one run, and the ways to speak to its user.

Standard output carries the result: text for people, or with ``--json`` exactly one JSON
document. Progress, warnings and errors go to standard error: as text, or with ``--json``
as one JSON object a line.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from modelvault.errors import ModelVaultError

if TYPE_CHECKING:
    from typer._click import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every command is told, and where its output goes."""

    vault: Path | None = None
    """The vault's folder, where ``--vault`` names one."""
    json: bool = False
    """Whether a program reads what is printed."""
    quiet: bool = False
    """Whether progress and notes are left out."""
    verbose: bool = False
    """Whether the log is shown."""

    @classmethod
    def of(cls, context: "Context") -> Self:
        """Return the session on a command's context."""
        return context.ensure_object(cls)

    def result(self, document: Mapping[str, Any] | list[Any], lines: Iterable[str]) -> None:
        """Print the result: the document as JSON, or the lines for people."""
        if self.json:
            print(json.dumps(document, ensure_ascii=False, indent=2))
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines)

    def warn(self, message: str) -> None:
        """Tell the user something that is not an error."""
        if self.json:
            print(json.dumps({"event": "warning", "message": message}), file=sys.stderr)
        else:
            print(f"warning: {message}", file=sys.stderr)

    def note(self, message: str) -> None:
        """Tell people, not programs, what is going on or what to do next."""
        if not self.json and not self.quiet:
            print(message, file=sys.stderr)

    def error(self, error: ModelVaultError) -> None:
        """Report an error with its hint and issues."""
        if self.json:
            event = {
                "event": "error",
                "error": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "issues": list(error.issues),
                "exit_code": error.exit_code,
            }
            print(json.dumps(event, ensure_ascii=False), file=sys.stderr)
            return
        print(f"error: {error.message}", file=sys.stderr)
        for issue in error.issues:
            print(f"  - {issue}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
