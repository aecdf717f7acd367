"""``modelvault gguf split|merge``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.cli.session import Session, command
from modelvault.core.names import Reference
from modelvault.errors import BadOption


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Split and merge GGUF files.", no_args_is_help=True)
    command(group, "split")(_split)
    command(group, "merge")(_merge)
    app.add_typer(group, name="gguf", rich_help_panel="The vault")


def _split(
    session: Session,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A GGUF file.")],
    max_size: Annotated[
        str, typer.Option("--max-size", help="Largest shard: 4GB, fat32, dvd, or bytes.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the shards; default: beside the file.")
    ] = None,
) -> None:
    """Cut a GGUF into shards; llama.cpp loads them by the first."""
    from modelvault.app.split import split_file
    from modelvault.bundle.layouts import parse_volume_size

    limit = parse_volume_size(max_size)
    with session.progress() as progress:
        made = split_file(file, out or file.absolute().parent, limit=limit, progress=progress)
    session.result({"files": [str(path) for path in made]}, map(str, made))


def _merge(
    session: Session,
    *,
    model: Annotated[
        str, typer.Argument(metavar="FILE|REF", help="A shard, or a model that was pulled.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The new file; needed for shards on disk.")
    ] = None,
    file: Annotated[
        str, typer.Option("--file", help="A shard of the set, where a model has several sets.")
    ] = "",
) -> None:
    """Put shards into one GGUF: a file, or a new variant of a pulled model."""
    from modelvault.app.split import find_shards, merge_files, merge_reference

    if model.lower().endswith(".gguf"):
        if out is None:
            raise BadOption("where is the merged file to go?", hint="give --out FILE")
        shards = find_shards(Path(model))
        with session.progress() as progress:
            merge_files(shards, out.absolute(), progress=progress)
        session.result({"file": str(out)}, [str(out)])
        return
    reference = Reference.parse(model)
    with session.open_vault() as vault, session.progress() as progress:
        made = merge_reference(vault, reference, file=file, progress=progress)
    session.result(
        {"reference": str(made.reference), "artifact": str(made.digest)},
        [f"{made.label} merged: artefact {made.digest}"],
    )
