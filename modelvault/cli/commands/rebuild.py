"""``modelvault rebuild``."""

import typer

from modelvault.app import housekeeping as verb
from modelvault.app.vault import Vault
from modelvault.cli.documents.vault import RebuiltCatalog
from modelvault.cli.lines import text
from modelvault.cli.session import Session


def rebuild(context: typer.Context) -> None:
    """Restore the catalogue from the records in the store."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        found = verb.rebuild(vault)
    for issue in found.issues:
        session.warn(issue)
    lines = [f"catalogue restored: {text.count(len(found.artifacts), 'artefact')}"]
    if found.set_aside:
        lines.append(f"the damaged catalogue is kept as {found.set_aside}")
    session.result(RebuiltCatalog.of(found), lines)
