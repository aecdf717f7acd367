"""``modelvault du``."""

import typer

from modelvault.app import usage as verb
from modelvault.app.usage import VaultUsage
from modelvault.app.vault import Vault
from modelvault.cli.documents.usage import UsedSpace
from modelvault.cli.lines import text
from modelvault.cli.lines.table import Column, Line, Table
from modelvault.cli.session import Session


def du(context: typer.Context) -> None:
    """Show how much disk each model takes, and what of it models share."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        found = verb.measure_usage(vault)
    session.result(UsedSpace.of(found), _lines(found))


def _lines(found: VaultUsage) -> list[Line]:
    usage = found.usage
    table = Table(
        columns=(
            Column("MODEL", least=16),
            Column("ARTEFACTS", right=True, spare=2),
            Column("SIZE", right=True, spare=1),
            Column("ON DISK", right=True),
            Column("SHARED", right=True),
        ),
        rows=[
            (
                str(model.model),
                str(model.artifacts),
                text.size(model.size),
                text.size(model.stored),
                text.size(model.shared),
            )
            for model in usage.models
        ],
    )
    lines: list[Line] = [table] if usage.models else []
    lines.append(
        f"{text.count(usage.artifacts, 'artefact')} of {text.count(len(usage.models), 'model')}: "
        f"{text.size(usage.size)}, {text.size(usage.stored)} on disk, where each file is kept once"
    )
    if found.unfinished:
        lines.append(
            f"unfinished downloads, imports and conversions: {text.size(found.unfinished)}"
            " (gc --partials drops them)"
        )
    if found.quarantined:
        lines.append(f"in quarantine: {text.size(found.quarantined)}")
    return lines
