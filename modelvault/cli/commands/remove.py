"""``modelvault remove``."""

from typing import Annotated

import typer

from modelvault.app import housekeeping as verb
from modelvault.app.vault import Vault
from modelvault.cli.completion import SomeReferencesArgument
from modelvault.cli.documents.vault import RemovedArtifacts
from modelvault.cli.lines import text
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference


def remove(
    context: typer.Context,
    references: SomeReferencesArgument,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Forget artefacts; gc then frees their bytes."""
    session = Session.of(context)
    parsed = [parse_reference(item) for item in references]
    with Vault.open(session.vault) as vault:
        done = verb.remove(vault, *parsed, dry_run=dry_run)
        gc = vault.command("gc")
    word = "would remove" if dry_run else "removed"
    session.result(
        RemovedArtifacts.of(done, dry_run=dry_run),
        [
            *(f"{word} {item.reference}  {item.digest.short}" for item in done.artifacts),
            (
                f"{text.size(done.freed)} that nothing else needs stay until: {gc}"
                if done.freed
                else "no bytes go with that: other artefacts have the same files"
            ),
        ],
    )
