"""Arguments and options that complete to what there is."""

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from modelvault.app.vault import locate
from modelvault.catalog.listing import read_listing
from modelvault.cli.session import Session
from modelvault.errors import ModelVaultError


def complete_reference(context: typer.Context, incomplete: str) -> list[str]:
    """Return the references in the vault that start with ``incomplete``."""
    try:
        paths, config = locate(Session.of(context).vault)
        rows = read_listing(paths, config.database_url)
    except ModelVaultError:
        return []  # a shell's completion has nowhere to show an error
    return sorted(
        {row.reference.label for row in rows if row.reference.label.startswith(incomplete)}
    )


def complete_from(values: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes to those of ``values`` that start as the user began."""
    known = tuple(values)

    def complete(incomplete: str) -> list[str]:
        return [value for value in known if value.lower().startswith(incomplete.lower())]

    return complete


# Escaped, for help texts are markup: "[@REVISION]" would be taken for a tag and vanish.
_HELP = "ORG/NAME\\[@REVISION][:VARIANT]"

ReferenceArgument = Annotated[
    str, typer.Argument(metavar="REF", help=_HELP, autocompletion=complete_reference)
]
OptionalReferenceArgument = Annotated[
    str | None, typer.Argument(metavar="REF", help=_HELP, autocompletion=complete_reference)
]
ReferencesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="REF…", help=_HELP, autocompletion=complete_reference)
]
