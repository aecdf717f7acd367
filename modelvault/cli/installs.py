"""``modelvault install``, ``uninstall`` and ``status``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelvault.cli import text
from modelvault.cli.completion import ReferenceArgument
from modelvault.cli.session import Session, command
from modelvault.core.names import Reference

if TYPE_CHECKING:
    from modelvault.app.install import Installed

_PANEL = "Closed network"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "install", rich_help_panel=_PANEL)(_install)
    command(app, "uninstall", rich_help_panel=_PANEL)(_uninstall)
    command(app, "status", rich_help_panel=_PANEL)(_status)


def _install(
    session: Session,
    reference: ReferenceArgument,
    to: Annotated[str, typer.Option("--to", help="ollama, vllm or llamacpp.")],
    folder: Annotated[
        Path | None, typer.Option("--dir", help="The runtime's folder; default: its own.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="What the runtime calls the model.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace another model of that name.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and stop.")
    ] = False,
) -> None:
    """Put an artefact where a runtime finds it, without a second copy where possible."""
    from modelvault.app.install import install, plan_install

    with session.open_vault() as vault:
        plan = plan_install(vault, Reference.parse(reference), to, folder, name, replace=replace)
        if dry_run:
            session.result(
                {"target": to, "name": plan.name, "location": str(plan.location)},
                [f"would install {reference} as {plan.name} in {plan.location}"],
            )
            return
        with session.progress():
            done = install(vault, plan)
    session.result(_document(done), _lines(done))


def _document(done: "Installed") -> dict[str, Any]:
    return {
        "reference": str(done.artifact.reference),
        "target": done.receipt.target,
        "name": done.receipt.name,
        "location": done.receipt.location,
        "placements": dict(done.placements),
        "bytes_copied": done.bytes_copied,
        "notes": list(done.notes),
        "new": done.new,
    }


def _lines(done: "Installed") -> list[str]:
    how = ", ".join(f"{number} by {way}" for way, number in done.placements.items())
    return [
        f"{done.artifact.label} {'installed' if done.new else 'is already installed'}: "
        f"{done.receipt.target} {done.receipt.name} in {done.receipt.location}",
        f"  files: {how or 'none new'}; {text.size(done.bytes_copied)} copied",
        *(f"  {note}" for note in done.notes),
    ]


def _uninstall(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name in the runtime, or a reference.")],
    target: Annotated[
        str | None, typer.Option("--from", help="The runtime, where the name is in several.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="The runtime's folder, where it is in several.")
    ] = None,
) -> None:
    """Take back exactly what an install did, as its receipt says."""
    from modelvault.app.install import uninstall

    with session.open_vault() as vault:
        receipt = uninstall(vault, name, target, folder)
    session.result(
        {"target": receipt.target, "name": receipt.name, "location": receipt.location},
        [f"uninstalled {receipt.name} from {receipt.target} in {receipt.location}"],
    )


def _status(session: Session) -> None:
    """Show what is installed where."""
    from modelvault.app.install import status

    with session.open_vault() as vault:
        rows = status(vault)
    table = [("TARGET", "NAME", "REFERENCE", "LOCATION", "SINCE", "STATE")]
    table += [
        (
            row.target,
            row.name,
            row.reference or "(removed from the vault)",
            row.location,
            row.since[:10],
            row.state,
        )
        for row in rows
    ]
    session.result(
        [
            {
                "target": row.target,
                "name": row.name,
                "reference": row.reference,
                "location": row.location,
                "since": row.since,
                "state": row.state,
            }
            for row in rows
        ],
        text.columns(table) if rows else ["nothing is installed"],
    )
