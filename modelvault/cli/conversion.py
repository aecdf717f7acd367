"""``modelvault convert``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.cli import text
from modelvault.cli.completion import ReferenceArgument
from modelvault.cli.session import Session, command
from modelvault.core.names import Reference


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "convert", rich_help_panel="Connected host")(_convert)


def _convert(
    session: Session,
    *,
    reference: ReferenceArgument,
    to: Annotated[
        list[str], typer.Option("--to", help="gguf:F16, gguf:Q8_0, gguf:Q4_K_M …, awq, fp8")
    ],
    threads: Annotated[
        int, typer.Option("--threads", min=0, max=1024, help="0: one per core.")
    ] = 0,
    pre_tokenizer: Annotated[
        str | None,
        typer.Option("--pre-tokenizer", help="Name for the runtime, where none is recognised."),
    ] = None,
    imatrix: Annotated[
        Path | None,
        typer.Option("--imatrix", help="Importance matrix (GGUF) that guides the quantisation."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run the results, and compare them with the source.")
    ] = False,
    check_text: Annotated[
        Path | None, typer.Option("--check-text", help="Text for the check, in UTF-8.")
    ] = None,
    max_kl: Annotated[
        float | None,
        typer.Option("--max-kl", min=0, help="Refuse a result further off, in nats a token."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="AWQ: text, or JSON lines.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="AWQ: sequences at most.")
    ] = None,
    sequence_length: Annotated[
        int | None, typer.Option("--sequence-length", min=1, help="AWQ: tokens a sequence.")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option("--group-size", min=32, max=128, help="AWQ: 128, 64 or 32.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="AWQ: choice of the sequences.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan everything, write nothing.")
    ] = False,
) -> None:
    """Convert an artefact to what a runtime wants; the source stays."""
    from modelvault.app.convert import ConvertOptions, Target, convert, plan_conversion

    targets = [Target.parse(item) for item in to]
    given = {
        "pre_tokenizer": pre_tokenizer or None,
        "calibration": calibration and calibration.absolute(),
        "samples": samples,
        "sequence_length": sequence_length,
        "group_size": group_size,
        "seed": seed,
    }
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    options = ConvertOptions(
        threads=threads,
        parameters=parameters,
        imatrix=imatrix,
        check=check,
        check_text=check_text,
        max_kl=max_kl,
    )
    if dry_run:
        with session.open_vault() as vault:
            plans = plan_conversion(vault, Reference.parse(reference), targets, options)
        session.result(
            [
                {
                    "target": plan.target,
                    "size": plan.size,
                    "tensors": plan.tensors,
                    "parameters": plan.parameters,
                }
                for plan in plans
            ],
            (
                f"{plan.target}: {text.size(plan.size)}, {plan.tensors} tensors, "
                f"{plan.parameters} parameters, "
                f"{plan.size * 8 / max(plan.parameters, 1):.2f} bits per weight"
                for plan in plans
            ),
        )
        return
    with session.open_vault() as vault, session.progress() as progress:
        done = convert(vault, Reference.parse(reference), targets, options, progress)
    for warning in done.warnings:
        session.warn(warning)
    session.result(
        {
            "artifacts": [
                {"reference": str(item.reference), "artifact": str(item.digest)}
                for item in done.artifacts
            ],
            "skipped": [str(item.reference) for item in done.skipped],
            "warnings": list(done.warnings),
        },
        [
            *(f"{item.label} converted: artefact {item.digest}" for item in done.artifacts),
            *(f"{item.label} is already here" for item in done.skipped),
        ],
    )
