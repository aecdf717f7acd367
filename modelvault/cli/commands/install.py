"""``modelvault install``, ``uninstall`` and ``status``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelvault.cli.completion import ReferenceArgument
from modelvault.cli.lines import text
from modelvault.cli.session import Session, command
from modelvault.core.names import Reference

if TYPE_CHECKING:
    from modelvault.targets.receipt import Receipt
    from modelvault.targets.runtime import InstallPlan

_PANEL = "Closed network"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "install", rich_help_panel=_PANEL)(_install)
    command(app, "uninstall", rich_help_panel=_PANEL)(_uninstall)
    command(app, "status", rich_help_panel=_PANEL)(_status)


def _install(
    session: Session,
    *,
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
            session.result(_plan_document(plan), _plan_lines(plan, reference))
            return
        with session.progress() as progress:
            done = install(vault, plan, progress)
    receipt = done.receipt
    session.result(
        {
            "reference": str(done.artifact.reference),
            "target": receipt.target,
            "name": receipt.name,
            "location": receipt.location,
            "files": [
                {"path": file.path, "size": file.size, "placement": file.placement.value}
                for file in receipt.files
            ],
            "notes": list(receipt.notes),
            "new": done.new,
        },
        [
            (
                f"{done.artifact.label} {'installed' if done.new else 'was already installed'}: "
                f"{receipt.target} '{receipt.name}' in {receipt.location}"
            ),
            f"  files    {_placements(receipt)}",
            *(f"  {note}" for note in receipt.notes),
        ],
    )


def _plan_document(plan: "InstallPlan") -> dict[str, Any]:
    return {
        "target": plan.target,
        "name": plan.name,
        "location": str(plan.location),
        "files": [{"path": file.path, "size": file.size} for file in plan.files],
        "notes": list(plan.notes),
    }


def _plan_lines(plan: "InstallPlan", reference: str) -> list[str]:
    return [
        f"would install {reference} as {plan.target} '{plan.name}' in {plan.location}:",
        *(f"  {text.size(file.size):>8}  {file.path}" for file in plan.files),
        *(f"  {note}" for note in plan.notes),
    ]


def _placements(receipt: "Receipt") -> str:
    ways = {file.placement: receipt.count(file.placement) for file in receipt.files}
    return ", ".join(f"{number} by {way.value}" for way, number in ways.items())


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
        receipt, removal = uninstall(vault, name, target, folder)
    kept = [f"  kept {path}: another model there needs it" for path in removal.kept]
    session.result(
        {
            "target": receipt.target,
            "name": receipt.name,
            "location": receipt.location,
            "removed": list(removal.removed),
            "kept": list(removal.kept),
        },
        [
            (
                f"uninstalled {receipt.target} '{receipt.name}' from {receipt.location}: "
                f"{text.count(len(removal.removed), 'file')} removed"
            ),
            *kept,
        ],
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
            row.reference,
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
