"""``modelvault gc``."""

from typing import Annotated

import typer

from modelvault.app.housekeeping import collect_garbage
from modelvault.app.vault import Vault
from modelvault.cli.documents.vault import CollectedGarbage
from modelvault.cli.lines import text
from modelvault.cli.session import Session


def gc(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    partials: Annotated[
        bool,
        typer.Option("--partials", help="Also drop unfinished downloads, imports and conversions."),
    ] = False,
) -> None:
    """Free the bytes that no artefact refers to."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        found = collect_garbage(vault, dry_run=dry_run, partials=partials)
    total = found.garbage.size + found.leftover_size
    session.result(
        CollectedGarbage.of(found, dry_run=dry_run),
        [
            (
                f"{'would remove' if dry_run else 'removed'} "
                f"{text.count(len(found.garbage.blobs), 'blob')} and "
                f"{text.count(len(found.leftovers), 'leftover file')}, {text.size(total)}"
            )
        ],
    )
