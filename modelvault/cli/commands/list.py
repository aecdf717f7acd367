"""``modelvault list``."""

from typing import Any

import typer

from modelvault.app.vault import locate
from modelvault.catalog.listing import read_listing
from modelvault.catalog.values import ListingRow
from modelvault.cli.lines import text
from modelvault.cli.session import Session


def list_(context: typer.Context) -> None:
    """List what the vault holds."""
    session = Session.of(context)
    paths, config = locate(session.vault)
    rows = read_listing(paths, config.database_url)
    if session.json:
        session.result([_row_document(row) for row in rows], ())
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


def _row_document(row: ListingRow) -> dict[str, Any]:
    return {
        "reference": str(row.reference),
        "artifact": row.digest,
        "format": row.format,
        "quantization": row.quantization,
        "license": row.license,
        "size": row.size,
        "files": row.file_count,
        "labels": list(row.labels),
        "added": row.created_at,
        "installed": list(row.targets),
    }
