"""``modelvault install``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app import install as verb
from modelvault.app.install import plan_install
from modelvault.app.vault import Vault
from modelvault.cli.completion import ReferenceArgument, complete_from
from modelvault.cli.documents.install import FinishedInstall, PlannedInstall
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference
from modelvault.targets.receipt import Receipt
from modelvault.targets.registry import NAMES
from modelvault.targets.runtime import InstallPlan


def install(
    context: typer.Context,
    *,
    reference: ReferenceArgument,
    to: Annotated[
        str,
        typer.Option("--to", help=f"{', '.join(NAMES)}.", autocompletion=complete_from(NAMES)),
    ],
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
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        plan = plan_install(vault, parse_reference(reference), to, folder, name, replace=replace)
        if dry_run:
            session.result(PlannedInstall.of(plan), _plan_lines(plan, reference))
            return
        with show_progress(session, expected=None) as progress:
            done = verb.install(vault, plan, progress)
    for line in done.warnings:
        session.warn(line)
    if done.unsigned:
        session.note(done.unsigned)
    receipt = done.receipt
    session.result(
        FinishedInstall.of(done),
        [
            (
                f"{done.artifact.label} {'installed' if done.new else 'was already installed'}: "
                f"{receipt.target} '{receipt.name}' in {receipt.location}"
            ),
            *((f"  replaces {done.replaced}",) if done.replaced else ()),
            f"  files    {_placements(receipt)}",
            *((f"  signed   {receipt.location}/{done.signature}",) if done.signature else ()),
            *(f"  {note}" for note in receipt.notes),
        ],
    )


def _plan_lines(plan: InstallPlan, reference: str) -> list[str]:
    return [
        f"would install {reference} as {plan.target} '{plan.name}' in {plan.location}:",
        *(f"  {text.size(file.size):>8}  {file.path}" for file in plan.files),
        *((f"  {'':>8}  {plan.signature_path}",) if plan.signature_path else ()),
        *(f"  {note}" for note in plan.notes),
    ]


def _placements(receipt: Receipt) -> str:
    ways = {file.placement: receipt.count(file.placement) for file in receipt.files}
    return ", ".join(f"{number} by {way.value}" for way, number in ways.items())
