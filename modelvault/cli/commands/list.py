"""``modelvault list``."""

import typer

from modelvault.app.vault import locate
from modelvault.catalog.listing import read_listing
from modelvault.cli.documents.list import ListedArtifact
from modelvault.cli.lines import text
from modelvault.cli.session import Session


def list_(context: typer.Context) -> None:
    """List what the vault holds."""
    session = Session.of(context)
    paths, config = locate(session.vault)
    rows = read_listing(paths, config.database_url)
    if session.json:
        session.result([ListedArtifact.of(row) for row in rows], ())
        return
    if not rows:
        session.note("the vault is empty: modelvault pull ORG/NAME, or modelvault import")
        return
    table = [("REFERENCE", "FORMAT", "SIZE", "LICENCE", "REVISION", "ADDED", "INSTALLED")]
    table += [
        (
            row.reference.label,
            row.quantization or row.format,
            text.size(row.size),
            row.license or "-",
            " ".join(((row.reference.revision or "")[:12], *row.labels)),
            row.created_at[:10],
            ", ".join(row.targets),
        )
        for row in rows
    ]
    session.result([], text.columns(table, right=frozenset({2})))
