"""``modelvault import``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.import_ import choose_bundle, import_bundle
from modelvault.app.vault import Vault
from modelvault.cli.documents.bundle import FinishedImport
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session


def import_(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="The bundle; default: the one on mounted media."),
    ] = None,
    *,
    allow_older: Annotated[
        str | None,
        typer.Option(
            "--allow-older",
            metavar="REASON",
            help="Take a bundle though its signer sent a newer one; the reason goes into the log.",
        ),
    ] = None,
) -> None:
    """Verify a bundle and take everything in it into the vault; resumes where it stopped."""
    session = Session.of(context)
    chosen = choose_bundle(folder)
    if folder is None:
        session.note(f"found a bundle: {chosen}")
    with Vault.open(session.vault, create=True) as vault, show_progress(session) as progress:
        done = import_bundle(vault, chosen, progress, allow_older=allow_older)
    for warning in done.warnings:
        session.warn(warning)
    known = len(done.artifacts) - len(done.new)
    session.result(
        FinishedImport.of(done),
        [
            *(f"imported {item.reference}" for item in done.new),
            *(f"damaged, not taken: {item.label}" for item in done.damaged),
            (
                f"{text.count(len(done.new), 'new artefact')}, {known} already here; "
                f"{text.size(done.new_bytes)} read and verified, "
                f"{text.size(done.skipped_bytes)} already in the vault"
            ),
            f"signed by {', '.join(done.signers)}",
        ],
    )
    done.raise_damage()
