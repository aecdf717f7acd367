"""``modelvault bundle``, as far as it needs no vault."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.bundles import Checked, SiteTrust, show_bundle, site_trust, verify_bundle
from modelvault.cli.documents.bundle import BundleContents
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.errors import ModelVaultError


def verify(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="The publisher's public key, PEM.")
    ] = None,
) -> None:
    """Check every byte of a bundle against its signature; needs no vault."""
    session = Session.of(context)
    trust = None if key else _site_trust(session)
    with show_progress(session) as progress:
        checked = verify_bundle(folder, key, progress, trust=trust)
    for doubt in checked.doubts:
        session.warn(doubt)
    session.result(
        BundleContents.of(checked), ["intact: every piece, file and record", *_lines(checked)]
    )


def show(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle.")],
) -> None:
    """Show what a bundle says it holds, without reading the volumes through."""
    session = Session.of(context)
    shown = show_bundle(folder, trust=_site_trust(session))
    for doubt in shown.doubts:
        session.warn(doubt)
    session.result(BundleContents.of(shown), _lines(shown))


def _site_trust(session: Session) -> SiteTrust | None:
    """Return whom the vault believes; where its keys cannot be read, nobody, and that is said.

    Raises:
        ModelVaultError: The vault is one that the user named.
    """
    try:
        return site_trust(session.vault)
    except ModelVaultError as error:
        if session.vault is not None:
            raise
        session.warn(f"the vault's keys are not used: {error.message}")
        return None


def _lines(checked: Checked) -> list[str]:
    return [
        f"  index    {checked.index_digest}",
        *(f"  signed   {signer}{_owner(checked, signer)}" for signer in checked.signers),
        f"  created  {checked.created}, serial {checked.serial}"
        + (f", expires {checked.expires}" if checked.expires else ""),
        (
            f"  size     {text.size(checked.size)} as {text.size(checked.stored_size)} in "
            f"{text.count(len(checked.volumes), 'volume')}"
        ),
        *(f"  holds    {artifact.reference}" for artifact in checked.artifacts),
        *(f"  newer    {item}" for item in checked.left_out),
    ]


def _owner(checked: Checked, signer: str) -> str:
    owner = checked.labels.get(signer)
    return "" if owner is None else f" ({owner})"
