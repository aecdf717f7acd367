"""``modelvault uninstall``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app import install as verb
from modelvault.app.vault import Vault
from modelvault.cli.completion import complete_from, complete_installed
from modelvault.cli.documents.install import FinishedUninstall
from modelvault.cli.lines import text
from modelvault.cli.session import Session
from modelvault.targets.registry import NAMES


def uninstall(
    context: typer.Context,
    *,
    name: Annotated[
        str,
        typer.Argument(
            help="Name in the runtime, or a reference.", autocompletion=complete_installed
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The runtime, where the name is in several.",
            autocompletion=complete_from(NAMES),
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="The runtime's folder, where it is in several.")
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget the install, and touch nothing of it.")
    ] = False,
) -> None:
    """Take back exactly what an install did, as its receipt says."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        if forget:
            forgotten = verb.forget_install(vault, name, target, folder).install
            session.result(
                FinishedUninstall.forgotten_of(forgotten),
                [
                    (
                        f"forgot {forgotten.target} '{forgotten.name}' in {forgotten.location}: "
                        "nothing there was touched"
                    )
                ],
            )
            return
        receipt, removal = verb.uninstall(vault, name, target, folder)
    kept = [f"  kept {path}: another model there needs it" for path in removal.kept]
    session.result(
        FinishedUninstall.of(receipt, removal),
        [
            (
                f"uninstalled {receipt.target} '{receipt.name}' from {receipt.location}: "
                f"{text.count(len(removal.removed), 'file')} removed"
            ),
            *kept,
        ],
    )
