"""``modelvault pull``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelvault.cli import text
from modelvault.cli.pull_plan import left_out_lines, license_text, plan_document, plan_lines
from modelvault.cli.session import Session, command
from modelvault.errors import FetchError

if TYPE_CHECKING:
    from modelvault.app.pull import Pulled, PullPlan
    from modelvault.sources.source import Sample, Source


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "pull", rich_help_panel="Connected host")(_pull)


def _pull(
    session: Session,
    *,
    model: Annotated[str, typer.Argument(help="ORG/NAME on the Hub, or a FOLDER with --as.")],
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
) -> None:
    """Bring a model into the vault, from the Hub or from a folder; resumes where it stopped."""
    from modelvault.app.pull import plan_pull, pull
    from modelvault.app.sources import SourceOptions, choose_source

    layout, config = session.locate()
    source = choose_source(
        model,
        SourceOptions(
            name=name,
            dataset=dataset,
            revision=revision,
            endpoint=endpoint or config.endpoint,
            token_file=token_file,
            connections=connections or config.connections,
            limit_rate=limit_rate or config.limit_rate,
            ca_bundle=ca_bundle or config.ca_bundle,
        ),
    )
    plan = plan_pull(source, layout, include=include or (), exclude=exclude or ())
    for warning in plan.warnings:
        session.warn(warning)
    if dry_run:
        sample = _measure(session, source, plan)
        session.result(plan_document(plan, sample), plan_lines(plan, sample))
        return
    for line in left_out_lines(plan):
        session.note(line)
    with session.open_vault(create=True) as vault, session.progress() as progress:
        done = pull(vault, source, plan, progress)
    _report(session, done)


def _measure(session: Session, source: "Source", plan: "PullPlan") -> "Sample | None":
    """Return how fast the missing files would come, as far as that can be found out."""
    from modelvault.app.pull import measure

    try:
        return measure(source, plan)
    except FetchError as error:
        session.warn(f"the rate could not be measured: {error.message}")
        return None


def _report(session: Session, done: "Pulled") -> None:
    plan, artifact = done.plan, done.artifact
    for note in done.notes:
        session.warn(note)
    document = plan_document(plan) | {
        "artifact": str(artifact.digest),
        "manifest": str(artifact.manifest),
        "new": done.new,
        "replaced": [str(old.digest) for old in done.replaced],
    }
    state = "pulled and verified" if done.new else "already here, verified"
    session.result(
        document,
        [
            (
                f"{artifact.label} {state}: {text.count(len(plan.selection.chosen), 'file')}, "
                f"{text.size(plan.size)}"
            ),
            f"  revision  {artifact.revision}",
            f"  licence   {license_text(plan)}",
            f"  artefact  {artifact.digest}",
            *(f"  in place of {old.digest}, with fewer files" for old in done.replaced),
        ],
    )
