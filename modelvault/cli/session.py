"""The common options of one run, and the ways to speak to its user.

Standard output carries the result: text for people, or with ``--json`` exactly one JSON
document. Progress, warnings and errors go to standard error: as text, or with ``--json``
as one JSON object a line. Text for people cannot steer their terminal. What prints JSON is
imported when a program asks for it: ``--help`` would pay for nothing more dearly.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from modelvault.cli.lines.text import printable
from modelvault.errors import ModelVaultError

if TYPE_CHECKING:
    from typer._click import Context

    from modelvault.cli.documents.document import Document
    from modelvault.cli.lines.table import Line


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
    """Whether the log is shown on standard error."""
    log_file: Path | None = None
    """File that the log is appended to."""

    @classmethod
    def of(cls, context: "Context") -> Self:
        """Return the session on a command's context."""
        return context.ensure_object(cls)

    def result(self, document: "Document | Sequence[Document]", lines: "Iterable[Line]") -> None:
        """Print the result: the document as JSON, or lines and tables for people.

        A table is as wide as the terminal at most; where standard output is none, whole.
        """
        if self.json:
            from modelvault.cli.documents.printing import print_document

            print_document(document)
        else:
            width = _terminal_width()
            for line in lines:
                if isinstance(line, str):
                    sys.stdout.write(f"{printable(line)}\n")
                else:
                    sys.stdout.writelines(f"{row}\n" for row in line.lines(width))

    def warn(self, message: str) -> None:
        """Tell the user something that is not an error."""
        if self.json:
            from modelvault.cli.documents.printing import print_warning

            print_warning(message)
        else:
            _tell(f"warning: {message}")

    def note(self, message: str) -> None:
        """Tell people, not programs, what is going on or what to do next."""
        if not self.json and not self.quiet:
            _tell(message)

    def error(self, error: ModelVaultError) -> None:
        """Report an error with its hint and issues, and with its class, to look it up by."""
        if self.json:
            from modelvault.cli.documents.printing import print_error

            print_error(error)
            return
        kind = type(error).__name__
        listed = f" [{kind}]" if kind != ModelVaultError.__name__ else ""
        _tell(f"error: {error.message}{listed}")
        for issue in error.issues:
            _tell(f"  - {issue}")
        if error.hint:
            _tell(f"hint: {error.hint}")


def _terminal_width() -> int | None:
    """Return how many cells a line of standard output has; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _tell(line: str) -> None:
    print(printable(line), file=sys.stderr)
