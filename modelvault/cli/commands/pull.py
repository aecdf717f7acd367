"""``modelvault pull``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from modelvault.cli.commands.pull_many import pull_from_file, pull_update
from modelvault.cli.commands.pull_one import pull_one
from modelvault.cli.session import Session, command
from modelvault.errors import BadOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "pull", rich_help_panel="Connected host")(_pull)


def _pull(
    session: Session,
    *,
    model: Annotated[
        str | None,
        typer.Argument(help="ORG/NAME on the Hub, or a FOLDER with --as.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="ORG/NAME for a model from a folder.")
    ] = None,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="ORG/NAME is a dataset, not a model.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit; default: main.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", help="Only files matching this pattern.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Leave out files matching this pattern.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="Hub or mirror; default: HF_ENDPOINT or the Hub."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File holding the access token.")
    ] = None,
    connections: Annotated[
        int | None, typer.Option("--connections", min=1, max=64, help="Parallel connections.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="How large files come: http (default), xet, hf-transfer."),
    ] = None,
    limit_rate: Annotated[
        str | None,
        typer.Option("--limit-rate", help="Bytes a second over all connections, such as 20MB."),
    ] = None,
    ca_bundle: Annotated[
        Path | None,
        typer.Option("--ca-bundle", help="Certificate authorities to believe (PEM file)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be pulled, and stop.")
    ] = False,
    from_file: Annotated[
        Path | None,
        typer.Option("--from-file", help="Pull a list: one reference a line, or a lock file."),
    ] = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Pull exactly what the list's lock file pins.")
    ] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Follow the branch of REF, or of everything in the vault."),
    ] = False,
) -> None:
    """Bring models into the vault, from the Hub or from a folder; resumes where it stopped."""
    from modelvault.app.sources import SourceOptions

    _, config = session.locate()
    options = SourceOptions(
        name=name,
        dataset=dataset,
        revision=revision,
        endpoint=endpoint or config.endpoint,
        token_file=token_file,
        connections=connections or config.connections,
        engine=engine or config.engine,
        limit_rate=limit_rate or config.limit_rate,
        ca_bundle=ca_bundle or config.ca_bundle,
    )
    single = {
        "--as": name,
        "--dataset": dataset,
        "--revision": revision,
        "--include": include,
        "--exclude": exclude,
        "--dry-run": dry_run,
    }
    if locked and from_file is None:
        raise BadOption("--locked goes with --from-file only")
    if from_file is not None:
        _refuse("--from-file", {**single, "--update": update, "a reference": model})
        pull_from_file(session, from_file, options, locked=locked)
    elif update:
        _refuse("--update", {**single, "--endpoint": endpoint})
        pull_update(session, model, options)
    elif model is None:
        raise BadOption("nothing to pull is named", hint="name ORG/NAME, or a FOLDER with --as")
    else:
        pull_one(
            session,
            model,
            options,
            include=include or (),
            exclude=exclude or (),
            dry_run=dry_run,
        )


def _refuse(mode: str, options: Mapping[str, object]) -> None:
    """Refuse options that a mode would ignore.

    Raises:
        BadOption: One of them is given.
    """
    given = [option for option, value in options.items() if value]
    if given:
        raise BadOption(f"{mode} does not go with {', '.join(given)}")
