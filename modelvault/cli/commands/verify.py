"""``modelvault verify``."""

from typing import Annotated

import typer

from modelvault.app import verify as verb
from modelvault.app.sources import SourceOptions
from modelvault.app.upstream import State, Upstream, compare_upstream
from modelvault.app.vault import Vault
from modelvault.cli.completion import ReferencesArgument
from modelvault.cli.documents.vault import VerifiedVault
from modelvault.cli.lines import text
from modelvault.cli.lines.upstream import upstream_lines
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import AnyReference, parse_reference


def verify(
    context: typer.Context,
    references: ReferencesArgument = None,
    *,
    upstream: Annotated[
        bool,
        typer.Option("--upstream", help="Also compare with what the sources offer now."),
    ] = False,
) -> None:
    """Re-hash everything the vault holds, or the artefacts named, and the event log."""
    session = Session.of(context)
    parsed = [parse_reference(item) for item in references or ()]
    with Vault.open(session.vault) as vault:
        with show_progress(session) as progress:
            found = verb.verify(vault, parsed, progress)
        compared = _compare(session, vault, parsed) if upstream else None
    for line in found.unsupported:
        session.warn(line)
    log = "" if found.events is None else f"; {text.count(found.events, 'event')} in the log"
    intact = (
        f"intact: {text.count(len(found.artifacts), 'artefact')}, "
        f"{text.count(found.blobs, 'blob')}, {text.size(found.size)} re-hashed{log}"
    )
    session.result(VerifiedVault.of(found, compared), [intact, *upstream_lines(compared or ())])


def _compare(session: Session, vault: Vault, references: list[AnyReference]) -> list[Upstream]:
    options = SourceOptions(ca_bundle=vault.config.ca_bundle)
    compared = list(compare_upstream(vault, references, options))
    for item in compared:
        if item.state is State.UNKNOWN:
            session.warn(f"{item.artifact.reference}: the source could not be asked: {item.reason}")
    return compared
