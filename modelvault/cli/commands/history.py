"""``modelvault history``."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from modelvault.app import history as verb
from modelvault.app.vault import Vault
from modelvault.cli.completion import OptionalReferenceArgument
from modelvault.cli.documents.vault import CheckedLog, LoggedEvent, PrintedHead
from modelvault.cli.lines import text
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference
from modelvault.errors import BadUsage


def history(
    context: typer.Context,
    *,
    reference: OptionalReferenceArgument = None,
    head: Annotated[
        bool, typer.Option("--head", help="Print the log's end, signed, to be kept elsewhere.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the hash chain, and print no events.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="With --verify: what --head --json printed before."),
    ] = None,
) -> None:
    """Show the event log, oldest first; its hash chain is checked first."""
    session = Session.of(context)
    if head + (verify or against is not None) + (reference is not None) > 1:
        raise BadUsage(
            "history shows events, or its --head, or checks it with --verify",
            hint="modelvault history --help shows how it is called",
        )
    with Vault.open(session.vault) as vault:
        if head:
            _print_head(session, vault)
        elif verify or against is not None:
            _verify(session, vault, against)
        else:
            events = list(verb.history(vault, parse_reference(reference) if reference else None))
            if not events:
                about = f"nothing of {reference}" if reference else ""
                session.note(f"the log tells {about}" if about else "the log is empty")
            session.result(
                [LoggedEvent.of(event) for event in events],
                (
                    f"{event.time:%Y-%m-%d %H:%M:%S}Z  {event.actor}@{event.host}  {event.verb}  "
                    f"{event.subject}  "
                    + " ".join(f"{key}={value}" for key, value in event.details.items())
                    for event in events
                ),
            )


def _print_head(session: Session, vault: Vault) -> None:
    # Here, because the history alone needs no cryptography.
    from modelvault.app.log_head import log_head

    found = log_head(vault)
    for line in found.warnings:
        session.warn(line)
    head = found.head
    time = f", {head.time:%Y-%m-%d %H:%M:%S}Z" if head.time else ""
    lines = [
        f"event {head.head.sequence}{time}",
        f"  hash       {head.head.hash}",
        f"  vault      {head.vault}",
    ]
    if found.signature is not None:
        lines.append(f"  signed     {found.signer}")
        lines.append(f"  signature  {base64.b64encode(found.signature).decode()}")
    session.result(PrintedHead.of(found), lines)
    session.note("to compare it later, keep what --json prints: history --verify --against FILE")


def _verify(session: Session, vault: Vault, against: Path | None) -> None:
    from modelvault.app.log_head import verify_log

    found = verify_log(vault, against)
    for line in found.warnings:
        session.warn(line)
    kept = []
    if found.against is not None:
        signer = f", signed by {found.signer}" if found.signer else ""
        kept = [f"  event {found.against.head.sequence} is as it was kept{signer}"]
    session.result(
        CheckedLog.of(found), [f"{text.count(found.events, 'event')}: the chain holds", *kept]
    )
