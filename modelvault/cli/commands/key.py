"""``modelvault key``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.keys import OwnKey, export_key, own_key
from modelvault.app.vault import Vault
from modelvault.cli.documents.keys import ExportedKey, SigningKey
from modelvault.cli.session import Session
from modelvault.core.medium import PUBLISHER_KEY


def generate(context: typer.Context) -> None:
    """Make the signing key, where there is none yet."""
    session = Session.of(context)
    with Vault.open(session.vault, create=True) as vault:
        key = own_key(vault, create=True)
    state = "made" if key.created else "already here"
    _show_own(session, key, f"signing key {state}: {key.fingerprint}")


def list_(context: typer.Context) -> None:
    """Show the signing key's fingerprint."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        key = own_key(vault, create=False)
    _show_own(session, key, f"signing key: {key.fingerprint}")


def export(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path(PUBLISHER_KEY),
) -> None:
    """Write the public key to a file, for sites that import."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        key = export_key(vault, out)
    session.result(
        ExportedKey(file=str(out), fingerprint=key.fingerprint),
        [f"{out}: public key {key.fingerprint}"],
    )


def _show_own(session: Session, key: OwnKey, headline: str) -> None:
    session.result(
        SigningKey.of(key),
        [
            headline,
            f"to read out: {key.spoken}",
            "give the fingerprint to the importing site over another channel than the medium",
        ],
    )
