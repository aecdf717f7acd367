"""``modelvault history``."""

import typer

from modelvault.app import history as verb
from modelvault.app.vault import Vault
from modelvault.cli.completion import OptionalReferenceArgument
from modelvault.cli.documents.vault import LoggedEvent
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference


def history(context: typer.Context, reference: OptionalReferenceArgument = None) -> None:
    """Show the event log, oldest first; its hash chain is checked first."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        events = list(verb.history(vault, parse_reference(reference) if reference else None))
    if not events:
        session.note(f"the log tells nothing of {reference}" if reference else "the log is empty")
    session.result(
        [LoggedEvent.of(event) for event in events],
        (
            f"{event.time:%Y-%m-%d %H:%M:%S}Z  {event.actor}@{event.host}  {event.verb}  "
            f"{event.subject}  "
            + " ".join(f"{key}={value}" for key, value in event.details.items())
            for event in events
        ),
    )
