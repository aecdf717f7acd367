"""``modelvault list``."""

from collections.abc import Sequence
from typing import Annotated

import typer

from modelvault.app.vault import locate
from modelvault.catalog.listing import read_listing
from modelvault.catalog.listing_query import FILTERS, SORTS, ListingQuery
from modelvault.catalog.values import ListingRow
from modelvault.cli.completion import complete_from
from modelvault.cli.documents.list import ListedArtifact
from modelvault.cli.lines import text
from modelvault.cli.lines.table import Column, Table
from modelvault.cli.session import Session

_SHORTEST_ID = 12


def list_(
    context: typer.Context,
    *,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="K=V",
            help="Only artefacts whose K is V, such as format=gguf or model='qwen/*'.",
            autocompletion=complete_from(f"{key}=" for key in FILTERS),
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="K",
            help="Sort by size, added, format …; --sort=-K the other way round.",
            autocompletion=complete_from(SORTS),
        ),
    ] = None,
) -> None:
    """List what the vault holds."""
    session = Session.of(context)
    paths, config = locate(session.vault)
    query = ListingQuery.parse(filters or (), sort)
    rows = read_listing(paths, config.database_url, query)
    if session.json:
        session.result([ListedArtifact.of(row) for row in rows], ())
        return
    if not rows:
        session.note(
            "nothing here fits the filter: modelvault list shows everything"
            if query.conditions
            else "the vault is empty: modelvault pull ORG/NAME, or modelvault import"
        )
        return
    session.result([], [_table(rows), _totals(rows)])


def _table(rows: Sequence[ListingRow]) -> Table:
    digits = _distinct_digits([row.digest.removeprefix("sha256:") for row in rows])
    return Table(
        columns=(
            Column("ID"),
            Column("REFERENCE", least=16),
            Column("FORMAT", spare=2),
            Column("SIZE", right=True),
            Column("LICENCE", least=10, spare=4),
            Column("REVISION", least=12, spare=3),
            Column("ADDED", spare=5),
            Column("INSTALLED", spare=1),
        ),
        rows=[
            (
                identity,
                _label(row),
                row.quantization or row.format,
                text.size(row.size),
                row.license or "-",
                " ".join(((row.reference.revision or "")[:12], *row.labels)),
                row.created_at[:10],
                ", ".join(row.targets),
            )
            for identity, row in zip(digits, rows)
        ],
    )


def _label(row: ListingRow) -> str:
    """Return the reference without its revision, as ``Reference.label`` does, only quicker."""
    variant = row.reference.variant
    return f"{row.reference.model}:{variant}" if variant else str(row.reference.model)


def _distinct_digits(digests: Sequence[str]) -> list[str]:
    """Return the start of each digest: as few digits as tell them all apart, but not fewer."""
    shortest = _SHORTEST_ID
    while len({digest[:shortest] for digest in digests}) < len(digests) and shortest < 64:
        shortest += 4
    return [digest[:shortest] for digest in digests]


def _totals(rows: Sequence[ListingRow]) -> str:
    models = len({row.reference.model for row in rows})
    return (
        f"{text.count(len(rows), 'artefact')} of {text.count(models, 'model')}, "
        f"{text.size(sum(row.size for row in rows))}"
    )
