"""``modelvault status``."""

from typing import Annotated

import typer

from modelvault.app import status as verb
from modelvault.app.vault import Vault
from modelvault.cli.documents.install import StandingInstall
from modelvault.cli.lines.table import Column, Table
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
    table = Table(
        columns=(
            Column("TARGET"),
            Column("NAME", least=12),
            Column("REFERENCE", least=12, spare=2),
            Column("LOCATION", least=12, spare=3),
            Column("SINCE", spare=4),
            Column("STATE", least=8),
        ),
        rows=[
            (row.target, row.name, row.reference, row.location, row.since[:10], row.state)
            for row in rows
        ],
    )
    session.result(
        [StandingInstall.of(row) for row in rows],
        [table] if rows else ["nothing is installed"],
    )
