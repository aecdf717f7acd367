"""``modelvault fit``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.fit.fit import FitOptions, with_local_gpus
from modelvault.app.fit.fit import fit as find_fit
from modelvault.app.fit.local_gpus import read_local_gpus
from modelvault.app.fit.subject import open_subject
from modelvault.app.sources import SourceOptions
from modelvault.cli.completion import complete_from, complete_reference
from modelvault.cli.documents.fit import FitDocument
from modelvault.cli.lines.fit import fit_lines, table_lines
from modelvault.cli.session import Session
from modelvault.fit.cache import CacheType
from modelvault.fit.gpus import find_gpu, gpu_names
from modelvault.fit.runtimes import RUNTIMES

_CACHES = tuple(kind.label for kind in CacheType)


def fit(
    context: typer.Context,
    *,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="ORG/NAME\\[@REVISION][:VARIANT] of the vault or the Hub, a file or a folder.",
            autocompletion=complete_reference,
        ),
    ],
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            metavar="24GB|NAME",
            help="Memory as its vendor counts it, or a name such as rtx4090; default: this"
            " machine's.",
            autocompletion=complete_from(gpu_names()),
        ),
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", help="How many equal ones.")] = 1,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--context", metavar="N", help="Tokens of each sequence, answer included; 8192."
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", help="Sequences served at once.")
    ] = 1,
    kv_cache: Annotated[
        str,
        typer.Option(
            "--kv-cache",
            help=f"Type of the cache: {', '.join(_CACHES)}.",
            autocompletion=complete_from(_CACHES),
        ),
    ] = "f16",
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help=f"{', '.join(RUNTIMES)}; default: the one that the weights' format is for.",
            autocompletion=complete_from(RUNTIMES),
        ),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Show every quantisation of the family.")
    ] = False,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="Base URL of the Hub.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the access token.")
    ] = None,
) -> None:
    """Say whether a model fits into a GPU's memory, before a pull or once it is stored."""
    session = Session.of(context)
    options = FitOptions(
        gpu=find_gpu(gpu) if gpu else None,
        gpus=gpus,
        context=tokens,
        sequences=concurrency,
        cache=CacheType.parse(kv_cache),
        runtime=runtime,
    )
    options = with_local_gpus(options, read_local_gpus() if gpu is None else ())
    asked = SourceOptions(endpoint=endpoint, token_file=token_file)
    with open_subject(reference, session.vault, asked) as subject:
        found = find_fit(subject, options)
    session.result(
        FitDocument.of(found), table_lines(found) if table else fit_lines(found, width=_width())
    )


def _width() -> int:
    import shutil

    return max(20, min(72, shutil.get_terminal_size().columns - 4))
