"""``modelvault export``, ``import`` and ``bundle``."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelvault.cli.completion import ReferencesArgument
from modelvault.cli.lines import text
from modelvault.cli.session import Session, command
from modelvault.core.names import Reference
from modelvault.errors import BadOption

if TYPE_CHECKING:
    from modelvault.app.bundles import Checked
    from modelvault.app.keys import OwnKey


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "export", rich_help_panel="Connected host")(_export)
    command(app, "import", rich_help_panel="Closed network")(_import)
    bundle = typer.Typer(help="Look at a bundle; needs no vault.", no_args_is_help=True)
    command(bundle, "verify")(_verify)
    command(bundle, "show")(_show)
    app.add_typer(bundle, name="bundle", rich_help_panel="Closed network")


def _export(
    session: Session,
    *,
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder on the medium.")],
    references: ReferencesArgument = None,
    volume_size: Annotated[
        str | None,
        typer.Option("--volume-size", help="fat32, dvd, 25GB or bytes; default: what fits DIR."),
    ] = None,
    compress: Annotated[str, typer.Option("--compress", help="auto or none.")] = "auto",
    expires: Annotated[
        dt.datetime | None,
        typer.Option("--expires", help="Importers refuse the bundle after this day (UTC)."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a bundle that stands there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be exported, and stop.")
    ] = False,
) -> None:
    """Write a signed bundle of the artefacts named, or of everything, onto a medium."""
    from modelvault.app.export import ExportOptions, choose_artifacts, export
    from modelvault.bundle.format.layouts import parse_volume_size
    from modelvault.bundle.write.bundle import Compression

    if compress not in ("auto", "none"):
        raise BadOption(f"--compress {compress}: choose auto or none")
    options = ExportOptions(
        volume_size=parse_volume_size(volume_size) if volume_size else None,
        compression=Compression(compress),
        expires=expires.replace(tzinfo=dt.UTC) if expires else None,
        replace=replace,
    )
    with session.open_vault() as vault:
        artifacts = choose_artifacts(vault, [Reference.parse(item) for item in references or ()])
        sizes = {item.digest: vault.manifest(item).size for item in artifacts}
        lines = [f"  {item.reference}  {text.size(sizes[item.digest])}" for item in artifacts]
        heading = f"{'would export' if dry_run else 'exporting'} to {bundle}:"
        if dry_run:
            session.result([str(item.reference) for item in artifacts], [heading, *lines])
            return
        for line in (heading, *lines):
            session.note(line)
        with session.progress() as progress:
            done = export(vault, artifacts, bundle, options, progress)
    if done.key.created:
        for line in _new_key_lines(done.key):
            session.note(line)
    written = done.bundle
    session.result(
        {
            "folder": str(bundle),
            "index": str(written.index_digest),
            "artifacts": [str(item.reference) for item in done.artifacts],
            "volumes": [carrier.name for carrier in written.carriers],
            "size": written.size,
            "stored_size": written.stored_size,
            "serial": written.serial,
            "fingerprint": written.fingerprint,
            "key_created": done.key.created,
            "unchanged": written.unchanged,
        },
        [
            (
                f"{'already there:' if written.unchanged else 'exported'} "
                f"{text.count(len(done.artifacts), 'artefact')}: {text.size(written.size)} "
                f"as {text.size(written.stored_size)} in "
                f"{text.count(len(written.carriers), 'volume')}"
            ),
            f"  bundle  {bundle}",
            f"  index   {written.index_digest}",
            f"  signed  {written.fingerprint}",
            f"check the copy on the medium any time: modelvault bundle verify {bundle}",
        ],
    )


def _new_key_lines(key: "OwnKey") -> list[str]:
    return [
        "a signing key was made for this vault:",
        f"  fingerprint  {key.fingerprint}",
        f"  to read out  {key.spoken}",
        "tell it to the importing site over another channel than the medium; there, once:",
        f"  modelvault trust add DIR --fingerprint {key.fingerprint}",
        "keep a copy of keys/signing.pem in a safe place: without it you sign as somebody new",
    ]


def _import(
    session: Session,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="The bundle; default: the one on mounted media."),
    ] = None,
) -> None:
    """Verify a bundle and take everything in it into the vault; resumes where it stopped."""
    from modelvault.app.import_ import choose_bundle, import_bundle

    chosen = choose_bundle(folder)
    if folder is None:
        session.note(f"found a bundle: {chosen}")
    with session.open_vault(create=True) as vault, session.progress() as progress:
        done = import_bundle(vault, chosen, progress)
    for warning in done.warnings:
        session.warn(warning)
    known = len(done.artifacts) - len(done.new)
    session.result(
        {
            "folder": str(done.folder),
            "artifacts": [str(item.reference) for item in done.artifacts],
            "new": [str(item.reference) for item in done.new],
            "new_bytes": done.new_bytes,
            "skipped_bytes": done.skipped_bytes,
            "signers": list(done.signers),
            "warnings": list(done.warnings),
        },
        [
            *(f"imported {item.reference}" for item in done.new),
            (
                f"{text.count(len(done.new), 'new artefact')}, {known} already here; "
                f"{text.size(done.new_bytes)} read and verified, "
                f"{text.size(done.skipped_bytes)} already held"
            ),
            f"signed by {', '.join(done.signers)}",
        ],
    )


def _verify(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="The publisher's public key, PEM.")
    ] = None,
) -> None:
    """Check every byte of a bundle against its signature; needs no vault."""
    from modelvault.app.bundles import verify_bundle

    with session.progress() as progress:
        checked = verify_bundle(folder, key, progress)
    if not checked.trusted:
        session.warn(
            "the signature was checked with the key on the medium itself: that shows damage, "
            "not who signed; compare the fingerprint, or give --key"
        )
    session.result(_document(checked), ["intact: every piece, file and record", *_lines(checked)])


def _show(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle.")],
) -> None:
    """Show what a bundle says it holds, without reading the volumes through."""
    from modelvault.app.bundles import show_bundle

    shown = show_bundle(folder)
    session.result(_document(shown), _lines(shown))


def _document(checked: "Checked") -> dict[str, Any]:
    return {
        "folder": str(checked.folder),
        "index": str(checked.index_digest),
        "signers": list(checked.signers),
        "trusted": checked.trusted,
        "serial": checked.serial,
        "created": checked.created,
        "expires": checked.expires,
        "size": checked.size,
        "stored_size": checked.stored_size,
        "volumes": list(checked.volumes),
        "artifacts": [str(artifact.reference) for artifact in checked.artifacts],
    }


def _lines(checked: "Checked") -> list[str]:
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
    ]
