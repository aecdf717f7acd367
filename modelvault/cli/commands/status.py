"""``modelvault status``."""

from typing import Annotated

import typer

from modelvault.app import install as verb
from modelvault.app.vault import Vault
from modelvault.cli.documents.install import StandingInstall
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session


def status(
    context: typer.Context,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Read every file, instead of going by size.")
    ] = False,
) -> None:
    """Show what is installed where."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault, show_progress(session) as progress:
        rows = verb.status(vault, progress, read=check)
    table = [("TARGET", "NAME", "REFERENCE", "LOCATION", "SINCE", "STATE")]
    table += [
        (
            row.target,
            row.name,
            row.reference,
            row.location,
            row.since[:10],
            row.state,
        )
        for row in rows
    ]
    session.result(
        [StandingInstall.of(row) for row in rows],
        text.columns(table) if rows else ["nothing is installed"],
    )
