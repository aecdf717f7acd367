"""Print for programs: documents on standard output, events on standard error."""

import sys
from collections.abc import Sequence

from modelvault.cli.documents.document import Document, to_json
from modelvault.cli.documents.report import ErrorEvent, WarningEvent
from modelvault.errors import ModelVaultError


def print_document(document: Document | Sequence[Document]) -> None:
    """Print the one document of a command."""
    print(to_json(document, indent=2))


def print_event(event: Document) -> None:
    """Print an event as one line."""
    print(to_json(event), file=sys.stderr)


def print_warning(message: str) -> None:
    """Print a warning."""
    print_event(WarningEvent(message=message))


def print_error(error: ModelVaultError) -> None:
    """Print why a command failed."""
    print_event(ErrorEvent.of(error))
