"""From what the user asks for to what each converter is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.convert_options import ConvertOptions, Target
from modelvault.app.vault import Vault
from modelvault.conversion import find_converter, run_converter
from modelvault.core.artifact import Artifact
from modelvault.core.protocol import Event, Request, SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a converter: it may make several types in one pass."""

    converter: str
    types: tuple[str, ...]


def split_runs(targets: Sequence[Target]) -> tuple[Run, ...]:
    """Return one run a converter, in the order asked for, each type once."""
    grouped: dict[str, dict[str, None]] = {}
    for target in targets:
        grouped.setdefault(target.converter, {})[target.type] = None
    return tuple(Run(converter=name, types=tuple(types)) for name, types in grouped.items())


def start_run(
    vault: Vault,
    parent: Artifact,
    run: Run,
    folder: Path,
    options: ConvertOptions,
    *,
    plan_only: bool = False,
) -> Iterator[Event]:
    """Start a converter; return its events.

    Args:
        vault: Holds the parent's files.
        parent: What is converted.
        run: Which converter, which types.
        folder: Where the results go.
        options: How.
        plan_only: Whether nothing is to be written.

    Raises:
        BadOption: A file that an option names is not there.
        BlobMissing: The store lacks a file of the parent.
        ConverterMissing: No installed package provides the converter.
        ConversionError: While the events are read: what the converter refuses.
    """
    command = find_converter(run.converter)
    files = tuple(
        SourceFile(path=entry.path, location=str(vault.store.path(entry.digest)), size=entry.size)
        for entry in vault.manifest(parent).files
    )
    request = Request(
        model=str(parent.model),
        revision=parent.revision,
        license=parent.license.id if parent.license else "",
        files=files,
        targets=run.types,
        output=str(folder),
        plan_only=plan_only,
        threads=options.threads,
        options=options.encode(),
    )
    return run_converter(command, request)
