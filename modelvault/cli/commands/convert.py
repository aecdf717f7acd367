"""``modelvault convert``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.conversion import convert as verb
from modelvault.app.conversion.options import SINGLE, ConvertOptions, Target
from modelvault.app.conversion.plan import plan_conversion
from modelvault.app.vault import Vault
from modelvault.cli.completion import ReferenceArgument, complete_from
from modelvault.cli.documents.convert import FinishedConversion, PlannedConversion
from modelvault.cli.lines.conversion import plan_lines, result_lines
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference

_TYPES = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q4_K_S", "IQ4_XS", "Q3_K_M", "Q2_K", "BF16", "F16")
TARGETS = (*SINGLE, *(f"gguf:{name}" for name in _TYPES))
"""What ``--to`` completes to: the usual targets, not all of them."""

_AWQ = "AWQ and W4A16"


def convert(
    context: typer.Context,
    *,
    reference: ReferenceArgument,
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="TARGET",
            help="gguf:Q4_K_M, gguf:Q8_0, gguf:F16 …, awq, w4a16, fp8, int8; several at once.",
            autocompletion=complete_from(TARGETS),
        ),
    ],
    threads: Annotated[
        int, typer.Option("--threads", min=0, max=1024, help="0: one per core.")
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="cpu|cuda|cuda:N",
            help="Where awq, w4a16, fp8 and int8 compute.",
            autocompletion=complete_from(("cpu", "cuda", "cuda:0", "cuda:1")),
        ),
    ] = None,
    pre_tokenizer: Annotated[
        str | None,
        typer.Option("--pre-tokenizer", help="GGUF: the runtime's name for it, if not recognised."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="rank|generate",
            help="GGUF: what a model that may be a reranker is to be.",
            autocompletion=complete_from(("rank", "generate")),
        ),
    ] = None,
    imatrix: Annotated[
        Path | None,
        typer.Option("--imatrix", help="GGUF: importance matrix that guides the quantisation."),
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
        Path | None, typer.Option("--calibration", help=f"{_AWQ}: text, or JSON lines.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help=f"{_AWQ}: sequences at most.")
    ] = None,
    sequence_length: Annotated[
        int | None, typer.Option("--sequence-length", min=2, help=f"{_AWQ}: tokens a sequence.")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option("--group-size", min=32, max=128, help=f"{_AWQ}: 128, 64 or 32.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help=f"{_AWQ}: choice of the sequences.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan every tensor, write nothing.")
    ] = False,
) -> None:
    """Convert an artefact to what a runtime wants; the source stays."""
    session = Session.of(context)
    targets = [Target.parse(item) for item in to]
    given = {
        "pre_tokenizer": pre_tokenizer or None,
        "task": task or None,
        "samples": samples,
        "sequence_length": sequence_length,
        "group_size": group_size,
        "seed": seed,
    }
    options = ConvertOptions(
        threads=threads,
        device=device,
        parameters={name: str(value) for name, value in given.items() if value is not None},
        imatrix=imatrix,
        calibration=calibration,
        check=check,
        check_text=check_text,
        max_kl=max_kl,
    )
    if dry_run:
        with Vault.open(session.vault) as vault:
            plan = plan_conversion(vault, parse_reference(reference), targets, options)
        for warning in plan.warnings:
            session.warn(warning)
        session.result(PlannedConversion.of(plan), plan_lines(plan))
        return
    with Vault.open(session.vault) as vault, show_progress(session) as progress:
        done = verb.convert(
            vault, parse_reference(reference), targets, options, progress, voice=session
        )
    session.result(FinishedConversion.of(done), result_lines(done))
