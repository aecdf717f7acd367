"""``modelvault pull``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelvault.cli import text
from modelvault.cli.session import Session, command

if TYPE_CHECKING:
    from modelvault.app.pull import PullPlan


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
        session.result(_plan_document(plan), _plan_lines(plan))
        return
    for line in _left_out_lines(plan):
        session.note(line)
    with session.open_vault(create=True) as vault, session.progress() as progress:
        done = pull(vault, source, plan, progress)
    artifact = done.artifact
    document = _plan_document(plan) | {
        "artifact": str(artifact.digest),
        "manifest": str(artifact.manifest),
        "new": done.new,
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
            f"  licence   {_license(plan)}",
            f"  artefact  {artifact.digest}",
        ],
    )


def _license(plan: "PullPlan") -> str:
    license_ = plan.offer.license
    if license_ is None:
        return "not declared"
    return " ".join(part for part in (license_.name or license_.id, license_.link) if part)


def _left_out_lines(plan: "PullPlan") -> list[str]:
    left_out = plan.selection.left_out
    if not left_out:
        return []
    total = text.size(sum(item.size for item in left_out))
    lines = [f"left out: {text.count(len(left_out), 'file')}, {total} (--include takes them)"]
    return lines + [f"  {item.path}: {item.reason}" for item in left_out]


def _plan_lines(plan: "PullPlan") -> list[str]:
    offer = plan.offer
    rows = [("SIZE", "FILE", "")]
    rows += [(text.size(file.size), file.path, file.scan) for file in plan.selection.chosen]
    return [
        f"{offer.model} at {offer.revision or 'a revision named after its content'}",
        f"licence: {_license(plan)}",
        *text.columns(rows, right=frozenset({0})),
        *_left_out_lines(plan),
        (
            f"{text.size(plan.size)} in {text.count(len(plan.selection.chosen), 'file')}; "
            f"{text.size(plan.held)} already in the vault, {text.size(plan.to_fetch)} to fetch, "
            f"{text.size(plan.free)} free"
        ),
    ]


def _plan_document(plan: "PullPlan") -> dict[str, Any]:
    offer = plan.offer
    return {
        "model": str(offer.model),
        "revision": offer.revision,
        "license": offer.license.id if offer.license else None,
        "card": dict(offer.card),
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256.hex if file.sha256 else None,
                "scan": file.scan,
            }
            for file in plan.selection.chosen
        ],
        "left_out": [
            {"path": item.path, "size": item.size, "reason": item.reason}
            for item in plan.selection.left_out
        ],
        "size": plan.size,
        "held": plan.held,
        "to_fetch": plan.to_fetch,
        "free": plan.free,
        "warnings": list(plan.warnings),
    }
