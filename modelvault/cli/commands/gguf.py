"""``modelvault gguf``."""

from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.split import find_shards, merge_files, split_file
from modelvault.app.split_reference import merge_reference, split_reference
from modelvault.app.vault import Vault
from modelvault.bundle.format.layouts.volumes import parse_volume_size
from modelvault.cli.completion import complete_from, complete_reference
from modelvault.cli.documents.artifacts import ArtifactName
from modelvault.cli.documents.gguf import MergedFile, WrittenShards
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference
from modelvault.errors import BadOption


def split(
    context: typer.Context,
    *,
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE|REF",
            help="A GGUF file, or a model of the vault.",
            autocompletion=complete_reference,
        ),
    ],
    max_size: Annotated[
        str,
        typer.Option(
            "--max-size",
            help="Largest shard: 4GB, fat32, dvd, or bytes.",
            autocompletion=complete_from(("fat32", "dvd", "4GB")),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for the shards; default: beside the file, or a new variant."
        ),
    ] = None,
    file: Annotated[str, typer.Option("--file", help="The file, where a model has several.")] = "",
) -> None:
    """Cut a GGUF into shards, which llama.cpp loads by the first: files, or a new variant."""
    session = Session.of(context)
    limit = parse_volume_size(max_size)
    if _is_file(model):
        path = Path(model)
        with show_progress(session) as progress:
            files = split_file(path, out or path.absolute().parent, limit=limit, progress=progress)
        session.result(WrittenShards(files=tuple(map(str, files))), map(str, files))
        return
    reference = parse_reference(model)
    with Vault.open(session.vault) as vault, show_progress(session) as progress:
        made = split_reference(vault, reference, file=file, limit=limit, out=out, progress=progress)
    if isinstance(made, list):
        session.result(WrittenShards(files=tuple(map(str, made))), map(str, made))
    else:
        session.result(
            ArtifactName.of(made),
            [f"{made.label} split: artefact {made.digest}"],
        )


def merge(
    context: typer.Context,
    *,
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE|REF",
            help="A shard, or a model of the vault.",
            autocompletion=complete_reference,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The new file; needed for shards on disk, else a new variant."),
    ] = None,
    file: Annotated[
        str, typer.Option("--file", help="A shard of the set, where a model has several sets.")
    ] = "",
) -> None:
    """Put shards into one GGUF: a file, or a new variant."""
    session = Session.of(context)
    if _is_file(model):
        if out is None:
            raise BadOption("where is the merged file to go?", hint="give --out FILE")
        shards = find_shards(Path(model))
        with show_progress(session) as progress:
            merge_files(shards, out.absolute(), progress=progress)
        session.result(MergedFile(file=str(out)), [str(out)])
        return
    reference = parse_reference(model)
    with Vault.open(session.vault) as vault, show_progress(session) as progress:
        made = merge_reference(
            vault, reference, file=file, out=out and out.absolute(), progress=progress
        )
    if isinstance(made, Path):
        session.result(MergedFile(file=str(made)), [str(made)])
    else:
        session.result(
            ArtifactName.of(made),
            [f"{made.label} merged: artefact {made.digest}"],
        )


def _is_file(model: str) -> bool:
    return model.lower().endswith(".gguf") or Path(model).is_file()
