"""Arguments that complete to what the vault holds."""

import os
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from modelvault.errors import ModelVaultError


def complete_reference(incomplete: str) -> list[str]:
    """Return the references in the default vault that start with ``incomplete``."""
    from modelvault.app.config import read_config
    from modelvault.app.vault import default_root
    from modelvault.catalog.listing import read_listing
    from modelvault.store.paths import VaultPaths

    paths = VaultPaths(default_root(os.environ))
    try:
        rows = read_listing(paths, read_config(paths.config, os.environ).database_url)
    except ModelVaultError:
        return []  # a shell's completion has nowhere to show an error
    return sorted(
        {row.reference.label for row in rows if row.reference.label.startswith(incomplete)}
    )


def complete_from(values: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes to those of ``values`` that start as the user began."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.lower().startswith(incomplete.lower())]

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
