"""``modelvault pull``."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from modelvault.app import pull as verb
from modelvault.app.conversion.assess import Convertible, assess
from modelvault.app.pull import Pulled, PullPlan
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.app.vault import Vault, locate
from modelvault.cli.commands.pull_list import pull_from_file
from modelvault.cli.commands.pull_update import pull_update
from modelvault.cli.completion import complete_followed, complete_from
from modelvault.cli.documents.pull import FinishedPull, PlannedPull
from modelvault.cli.lines import text
from modelvault.cli.lines.pull import (
    convertible_lines,
    left_out_notes,
    left_out_warnings,
    license_text,
    plan_lines,
)
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.errors import BadOption, FetchError
from modelvault.sources.fetch.speed import Speed


def pull(
    context: typer.Context,
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            help="ORG/NAME on the Hub; with --as, a FOLDER or the URL of a SHA256SUMS.",
            show_default=False,
            autocompletion=complete_followed,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="ORG/NAME for a model from a folder or a URL.")
    ] = None,
    sums_digest: Annotated[
        str | None,
        typer.Option("--sums-digest", help="What the SHA256SUMS itself must hash to."),
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
        typer.Option(
            "--engine",
            help="How large files come: http (default), xet, hf-transfer.",
            autocompletion=complete_from(("http", "xet", "hf-transfer")),
        ),
    ] = None,
    limit_rate: Annotated[
        str | None,
        typer.Option("--limit-rate", help="Bytes a second over all connections, such as 20MB."),
    ] = None,
    ca_bundle: Annotated[
        Path | None,
        typer.Option("--ca-bundle", help="Certificate authorities to believe (PEM file)."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", help="Seconds of silence that are borne (default 30).", show_default=False
        ),
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
    """Bring models into the vault: from the Hub, a folder or a web server; resumable."""
    session = Session.of(context)
    _, config = locate(session.vault)
    options = SourceOptions(
        name=name,
        sums_digest=sums_digest,
        dataset=dataset,
        revision=revision,
        endpoint=endpoint,
        token_file=token_file,
        connections=connections,
        engine=engine,
        limit_rate=limit_rate,
        ca_bundle=ca_bundle,
        timeout=timeout,
        tell=session.note,
    )
    single = {
        "--as": name,
        "--sums-digest": sums_digest,
        "--dataset": dataset,
        "--revision": revision,
        "--include": include,
        "--exclude": exclude,
    }
    if locked and from_file is None:
        raise BadOption("--locked goes with --from-file only")
    if from_file is not None:
        _refuse("--from-file", {**single, "--update": update, "a reference": model})
        pull_from_file(session, from_file, options, config, locked=locked, dry_run=dry_run)
    elif update:
        _refuse("--update", {**single, "--dry-run": dry_run, "--endpoint": endpoint})
        pull_update(session, model, options, config)
    elif model is None:
        raise BadOption(
            "nothing to pull is named", hint="name ORG/NAME, or a FOLDER or URL with --as"
        )
    else:
        _pull_one(
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


def _pull_one(
    session: Session,
    model: str,
    options: SourceOptions,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    dry_run: bool,
) -> None:
    """Pull what a user named, or only say what that would do."""
    paths, config = locate(session.vault)
    source = choose_source(model, options, config)
    plan = verb.plan_pull(source, paths, include=include, exclude=exclude)
    for warning in plan.warnings:
        session.warn(warning)
    if dry_run:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(assess, plan)
            speed = _measure(session, plan)
            found = asked.result()
        session.result(PlannedPull.of(plan, speed, found), plan_lines(plan, speed, found))
        return
    tell_left_out(session, plan)
    heard = session.json or not session.quiet
    found = assess(plan) if plan.to_fetch and heard else ()
    for line in convertible_lines(found):
        session.note(line)
    with (
        Vault.open(session.vault, create=True) as vault,
        show_progress(session, expected=plan.size) as progress,
    ):
        done = verb.pull(vault, plan, progress)
    _report(session, done, found)


def tell_left_out(session: Session, plan: PullPlan) -> None:
    """Say what is not pulled: what nobody asked to leave out in any case."""
    for line in left_out_warnings(plan):
        session.warn(line)
    for line in left_out_notes(plan):
        session.note(line)


def _measure(session: Session, plan: PullPlan) -> Speed | None:
    """Return how fast the missing files would come, as far as that can be found out."""
    try:
        return verb.measure(plan)
    except FetchError as error:
        session.warn(f"the rate could not be measured: {error.message}")
        return None


def _report(session: Session, done: Pulled, found: Sequence[Convertible]) -> None:
    plan, artifact = done.plan, done.artifact
    for note in done.notes:
        session.warn(note)
    state = "pulled and verified" if done.new else "already here, verified"
    session.result(
        FinishedPull.of_pull(done, found),
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
