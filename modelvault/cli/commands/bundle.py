"""``modelvault bundle``, as far as it needs no vault."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.bundles import Checked, show_bundle, verify_bundle
from modelvault.cli.documents.bundle import BundleContents
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session


def verify(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="The publisher's public key, PEM.")
    ] = None,
) -> None:
    """Check every byte of a bundle against its signature; needs no vault."""
    session = Session.of(context)
    with show_progress(session) as progress:
        checked = verify_bundle(folder, key, progress)
    if not checked.trusted:
        session.warn(
            "the signature was checked with the key on the medium itself: that shows damage, "
            "not who signed; compare the fingerprint, or give --key"
        )
    session.result(
        BundleContents.of(checked), ["intact: every piece, file and record", *_lines(checked)]
    )


def show(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle.")],
) -> None:
    """Show what a bundle says it holds, without reading the volumes through."""
    session = Session.of(context)
    shown = show_bundle(folder)
    session.result(BundleContents.of(shown), _lines(shown))


def _lines(checked: Checked) -> list[str]:
    return [
        f"  index    {checked.index_digest}",
        f"  signed   {', '.join(checked.signers)}",
        f"  created  {checked.created}, serial {checked.serial}"
        + (f", expires {checked.expires}" if checked.expires else ""),
        (
            f"  size     {text.size(checked.size)} as {text.size(checked.stored_size)} in "
            f"{text.count(len(checked.volumes), 'volume')}"
        ),
        *(f"  holds    {artifact.reference}" for artifact in checked.artifacts),
        *(f"  newer    {item}" for item in checked.left_out),
    ]
