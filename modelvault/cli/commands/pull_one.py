"""Pull one model, and say what came of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelvault.cli.lines import text
from modelvault.cli.lines.pull import left_out_lines, license_text, plan_document, plan_lines
from modelvault.cli.session import Session
from modelvault.errors import FetchError

if TYPE_CHECKING:
    from modelvault.app.pull import Pulled, PullPlan
    from modelvault.app.sources import SourceOptions
    from modelvault.sources.source import Sample, Source


def pull_one(
    session: Session,
    model: str,
    options: "SourceOptions",
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    dry_run: bool,
) -> None:
    """Pull what a user named, or only say what that would do."""
    from modelvault.app.pull import plan_pull, pull
    from modelvault.app.sources import choose_source

    paths, _ = session.locate()
    source = choose_source(model, options)
    plan = plan_pull(source, paths, include=include, exclude=exclude)
    for warning in plan.warnings:
        session.warn(warning)
    if dry_run:
        sample = _measure(session, source, plan)
        session.result(plan_document(plan, sample), plan_lines(plan, sample))
        return
    for line in left_out_lines(plan):
        session.note(line)
    with session.open_vault(create=True) as vault, session.progress(expected=plan.size) as progress:
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
