"""From what the user asks for to what each converter is asked for."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.vault import Vault
from modelvault.conversion import find_converter, run_converter
from modelvault.core import canonical
from modelvault.core.artifact import Artifact
from modelvault.core.protocol import Event, Request, SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a converter: it may make several types in one pass."""

    converter: str
    types: tuple[str, ...]
    options: ConvertOptions
    """Those of the command that are for this converter."""


def work_key(parent: Artifact, run: Run) -> str:
    """Return a short name for one piece of work: the same again only for the same work.

    Here the device counts: a result of two halves from different processors could not be made
    again.
    """
    work: canonical.Json = [
        str(parent.digest),
        run.converter,
        list(run.types),
        run.options.describe(),
        run.options.device,
    ]
    return hashlib.sha256(canonical.encode(work)).hexdigest()[:16]


def split_runs(targets: Sequence[Target], options: ConvertOptions) -> tuple[Run, ...]:
    """Return one run a converter, in the order asked for, each type once."""
    grouped: dict[str, dict[str, None]] = {}
    for target in targets:
        grouped.setdefault(target.converter, {})[target.type] = None
    return tuple(
        Run(
            converter=name,
            types=tuple(types),
            options=options.narrowed(name, grouped.keys() - {name}),
        )
        for name, types in grouped.items()
    )


def start_run(
    vault: Vault,
    parent: Artifact,
    run: Run,
    folder: Path,
    *,
    plan_only: bool = False,
) -> Iterator[Event]:
    """Start a converter; return its events.

    Args:
        vault: Holds the parent's files.
        parent: What is converted.
        run: Which converter, which types, and how.
        folder: Where the results go.
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
        threads=run.options.threads,
        options=run.options.encode(),
    )
    return run_converter(command, request)
