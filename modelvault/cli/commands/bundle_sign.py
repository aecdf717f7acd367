"""``modelvault bundle sign``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.sign import sign_bundle
from modelvault.app.vault import Vault
from modelvault.cli.documents.bundle import SignedBundle
from modelvault.cli.lines.keys import new_key_lines
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session


def sign(
    context: typer.Context,
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR…", help="The bundle; all media of a set.")
    ],
    key: Annotated[
        Path | None, typer.Option("--key", help="The publisher's public key, PEM.")
    ] = None,
    allow_older: Annotated[
        str | None,
        typer.Option("--allow-older", help="Sign it though its signer sent a newer one; say why."),
    ] = None,
) -> None:
    """Check every byte of a bundle and add this vault's signature to it."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault, show_progress(session) as progress:
        done = sign_bundle(vault, folders, progress, publisher=key, allow_older=allow_older)
    for line in done.warnings:
        session.warn(line)
    if done.key.created:
        for line in new_key_lines(done.key):
            session.note(line)
    session.result(
        SignedBundle.of(done),
        [
            (
                "signed: every piece, file and record is intact"
                if done.new
                else "this vault's key has signed it already: nothing was written"
            ),
            f"  index    {done.index_digest}",
            f"  serial   {done.serial}",
            *(
                f"  signed   {signer}{' (this vault)' if signer == done.key.fingerprint else ''}"
                for signer in done.signers
            ),
            *(f"  holds    {artifact.reference}" for artifact in done.artifacts),
        ],
    )
