"""``modelvault inspect``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.inspect import Inspected, inspect_path, inspect_reference
from modelvault.app.vault import Vault
from modelvault.cli.completion import complete_reference
from modelvault.cli.documents.inspect import InspectedModel
from modelvault.cli.lines import text
from modelvault.cli.lines.table import Column, Line, Table
from modelvault.cli.lines.tensors import FILE_COLUMN, TENSOR_COLUMNS
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference


def inspect(
    context: typer.Context,
    *,
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE|REF",
            help="A GGUF or safetensors file, a folder, or ORG/NAME\\[:VARIANT].",
            autocompletion=complete_reference,
        ),
    ],
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List every tensor; --json always does.")
    ] = False,
) -> None:
    """Show what a GGUF or safetensors file holds; reads headers only, needs no vault."""
    session = Session.of(context)
    path = Path(model)
    if path.exists() or model.lower().endswith((".gguf", ".safetensors")):
        found = inspect_path(path)
    else:
        reference = parse_reference(model)
        with Vault.open(session.vault) as vault:
            found = inspect_reference(vault, reference)
    session.result(InspectedModel.of(found), _lines(found, tensors=tensors))


def _lines(found: Inspected, *, tensors: bool) -> Iterator[Line]:
    yield f"{found.format}, {text.count(len(found.files), 'file')}, {text.size(found.size)}"
    yield (
        f"{text.count(len(found.tensors), 'tensor')}, {found.parameters:,} parameters, "
        f"{found.bits_per_weight:.2f} bits per weight"
    )
    yield ""
    yield Table(
        columns=(
            Column("type"),
            Column("tensors", right=True, spare=1),
            Column("parameters", right=True),
            Column("size", right=True),
        ),
        rows=[
            (
                text.visible(total.type),
                str(total.tensors),
                f"{total.parameters:,}",
                text.size(total.size),
            )
            for total in found.totals
        ],
    )
    if found.metadata or found.arrays:
        yield ""
        for key, value in found.metadata.items():
            yield f"{text.visible(key)} = {text.visible(str(value))}"
        for key, length in found.arrays.items():
            yield f"{text.visible(key)} = [{length} values]"
    if tensors:
        yield ""
        yield Table(
            columns=(*TENSOR_COLUMNS, FILE_COLUMN),
            rows=[
                (
                    text.visible(tensor.name),
                    text.visible(tensor.type),
                    " x ".join(map(str, tensor.shape)),
                    str(tensor.offset),
                    "?" if tensor.size is None else str(tensor.size),
                    text.visible(tensor.file),
                )
                for tensor in found.tensors
            ],
        )
