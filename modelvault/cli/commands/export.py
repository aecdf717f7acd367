"""``modelvault export``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app import export as verb
from modelvault.app.export import ExportOptions, choose_artifacts, parse_expiry
from modelvault.app.vault import Vault
from modelvault.bundle.write.compression import Compression
from modelvault.cli.completion import ReferencesArgument, complete_from
from modelvault.cli.documents.bundle import FinishedExport, PlannedExport
from modelvault.cli.lines import text
from modelvault.cli.lines.keys import new_key_lines
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference


def export(
    context: typer.Context,
    *,
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder on the medium.")],
    references: ReferencesArgument = None,
    volume_size: Annotated[
        str | None,
        typer.Option(
            "--volume-size",
            help="fat32, dvd, 25GB or bytes; default: what fits DIR.",
            autocompletion=complete_from(("fat32", "dvd", "25GB")),
        ),
    ] = None,
    compress: Annotated[
        str,
        typer.Option(
            "--compress", help="auto or none.", autocompletion=complete_from(map(str, Compression))
        ),
    ] = "auto",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="DAY|TIME",
            help="Last day on which importers take the bundle, or a time (UTC).",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a bundle that stands there.")
    ] = False,
    create: Annotated[
        bool,
        typer.Option("--create", help="Write there even where no medium is mounted."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be exported, and stop.")
    ] = False,
) -> None:
    """Write a signed bundle of the artefacts named, or of everything, onto a medium."""
    session = Session.of(context)
    options = ExportOptions.parse(
        volume_size=volume_size,
        compress=compress,
        expires=parse_expiry(expires) if expires else None,
        replace=replace,
        create=create,
    )
    with Vault.open(session.vault) as vault:
        chosen = choose_artifacts(vault, [parse_reference(item) for item in references or ()])
        artifacts = chosen.artifacts
        for line in chosen.left_out:
            session.warn(f"not exported: {line}")
        sizes = {item.digest: vault.manifest(item).size for item in artifacts}
        lines = [f"  {item.reference}  {text.size(sizes[item.digest])}" for item in artifacts]
        heading = f"{'would export' if dry_run else 'exporting'} to {bundle}:"
        if dry_run:
            if not options.create:
                verb.check_destination(bundle)
            session.result(PlannedExport.of(bundle, artifacts, sizes), [heading, *lines])
            return
        for line in (heading, *lines):
            session.note(line)
        with show_progress(session) as progress:
            done = verb.export(vault, chosen, bundle, options, progress)
    for line in (*done.warnings, *done.bundle.left):
        session.warn(line)
    if done.key.created:
        for line in new_key_lines(done.key):
            session.note(line)
    written = done.bundle
    session.result(
        FinishedExport.of(bundle, done),
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
