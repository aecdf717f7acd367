"""``convert``: make variants of an artefact with a converter in a child process."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelvault import fsio
from modelvault.app.quality import quality_warnings
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.conversion import find_converter, run_converter
from modelvault.core.artifact import Artifact, ConversionOrigin
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import Reference, is_variant
from modelvault.core.progress import Progress
from modelvault.core.protocol import Advanced, Planned, Produced, Request, SourceFile, Warned
from modelvault.errors import ArtifactNotFound, BadOption, BadPath, ConverterCrashed

_FLOATS = ("F32", "F16", "BF16")
"""Types that no importance matrix changes."""

_CARRIED = ("license", "licence", "notice", "readme.md", "use_policy", "copying")

_SINGLE = ("awq", "fp8", "int8", "w4a16")
"""Converters with a single type, which bears their name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What ``--to`` names: a converter and one of its types."""

    converter: str
    type: str
    """As the field spells it; also the variant's name."""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Return the target written ``gguf:Q4_K_M``, or ``awq`` where there is one type.

        Raises:
            BadOption: The text is not ``CONVERTER:TYPE``.
        """
        text = f"{text}:{text}" if text.lower() in _SINGLE else text
        converter, _, type_ = text.partition(":")
        if not is_variant(converter) or not is_variant(type_):
            raise BadOption(
                f"--to {text}: not a target", hint="write --to gguf:Q4_K_M, or --to fp8"
            )
        return cls(converter=converter.lower(), type=type_.upper())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """How to convert."""

    threads: int = 0
    """Worker threads; 0 for one per core."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Converter options, such as ``pre_tokenizer``."""
    imatrix: Path | None = None
    """Importance matrix as llama.cpp writes it."""

    check: bool = False
    """Whether the results are run and compared with their source."""
    check_text: Path | None = None
    """Text for the check; without one a built-in text is read."""
    max_kl: float | None = None
    """Largest divergence from the source that is accepted, in nats a token."""

    @property
    def checks(self) -> bool:
        """Whether any option asks for the check."""
        return self.check or self.check_text is not None or self.max_kl is not None

    def encode(self) -> dict[str, str]:
        """Return the options as the converter reads them.

        Raises:
            BadOption: A file that is named is not there.
        """
        return {
            **self.parameters,
            **_file_option("imatrix", self.imatrix),
            **_file_option("check_text", self.check_text),
            **({"check": "yes"} if self.check else {}),
            **({"max_kl": repr(self.max_kl)} if self.max_kl is not None else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion made."""

    artifacts: tuple[Artifact, ...]
    """The new variants, in the order asked for."""
    skipped: tuple[Artifact, ...]
    """Variants that the vault already holds."""
    warnings: tuple[str, ...]


def _file_option(name: str, path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    if not path.is_file():
        raise BadOption(f"--{name.replace('_', '-')} {path}: there is no such file")
    return {name: str(path.absolute())}


def plan_conversion(
    vault: Vault, reference: Reference, targets: Sequence[Target], options: ConvertOptions
) -> tuple[Planned, ...]:
    """Return size and tensor count of each target, without writing a byte of it.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        ConversionError: The converter refuses the source or a target.
    """
    parent = vault.catalog.find(reference).artifact
    plans: list[Planned] = []
    with vault.store.writing(), working_folder(vault, parent, "plan") as folder:
        for converter, types in _by_converter(targets).items():
            request = _request(vault, parent, types, folder, options, plan_only=True)
            events = run_converter(find_converter(converter), request)
            plans += [event for event in events if isinstance(event, Planned)]
    return tuple(plans)


def convert(
    vault: Vault,
    reference: Reference,
    targets: Sequence[Target],
    options: ConvertOptions,
    progress: Progress,
) -> Converted:
    """Convert an artefact and record each result with its lineage.

    A target that the vault already holds, made from the same parent, is not made again.
    With another importance matrix, or to be checked for the first time, it is made anew.
    Results are recorded one by one: what is finished when a later target fails stays.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        ConversionError: The converter refuses or fails.
        StorageError: The disk is full or refuses.
    """
    parent = vault.catalog.find(reference).artifact
    weights = _digest(options.imatrix)
    held = {
        item.type: found
        for item in targets
        if (found := _existing(vault, parent, item, weights, checked=options.checks))
    }
    wanted = [target for target in targets if target.type not in held]
    made: list[Artifact] = []
    warnings = quality_warnings(parent, [target.type for target in wanted])
    with vault.store.writing():
        for converter, types in _by_converter(wanted).items():
            command = find_converter(converter)
            with working_folder(vault, parent, converter) as folder:
                request = _request(vault, parent, types, folder, options)

                def keep(produced: Produced, name: str = converter, at: Path = folder) -> None:
                    made.append(record_result(vault, parent, name, produced, at))

                warnings += _follow(command, request, progress, keep)
    return Converted(artifacts=tuple(made), skipped=tuple(held.values()), warnings=tuple(warnings))


def _by_converter(targets: Sequence[Target]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, dict[str, None]] = {}
    for target in targets:
        grouped.setdefault(target.converter, {})[target.type] = None
    return {converter: tuple(types) for converter, types in grouped.items()}


def _digest(imatrix: Path | None) -> str:
    """Return what the lineage says of a run with this importance matrix."""
    if imatrix is None or not imatrix.is_file():
        return ""
    with open(imatrix, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _existing(
    vault: Vault, parent: Artifact, target: Target, weights: str, *, checked: bool
) -> Artifact | None:
    """Return the variant that a conversion would make again, if the vault holds it."""
    reference = Reference(model=parent.model, revision=parent.revision, variant=target.type)
    try:
        found = vault.catalog.find(reference).artifact
    except ArtifactNotFound:
        return None
    origin = found.origin
    if not isinstance(origin, ConversionOrigin) or origin.parent != parent.digest:
        return None
    if checked and "check" not in origin.parameters:
        return None
    weighted = target.type not in _FLOATS
    same = not weighted or origin.parameters.get("imatrix", "") == weights
    return found if same else None


@contextmanager
def working_folder(vault: Vault, parent: Artifact, purpose: str) -> Iterator[Path]:
    """Yield an empty folder for a converter; the same run finds and clears an old one."""
    key = hashlib.sha256(f"{parent.digest} {purpose}".encode()).hexdigest()[:16]
    folder = vault.store.layout.partials / f"convert-{key}"
    with fsio.lock(folder.with_name(f"{folder.name}.lock"), transient=True):
        vault.store.clear([folder] if folder.exists() else [])
        fsio.make_folder(folder)
        try:
            yield folder
        finally:
            vault.store.clear([folder])


def _request(
    vault: Vault,
    parent: Artifact,
    types: tuple[str, ...],
    folder: Path,
    options: ConvertOptions,
    *,
    plan_only: bool = False,
) -> Request:
    manifest = vault.manifest(parent)
    return Request(
        model=str(parent.model),
        revision=parent.revision,
        license=parent.license.id if parent.license else "",
        files=tuple(
            SourceFile(
                path=entry.path, location=str(vault.store.path(entry.digest)), size=entry.size
            )
            for entry in manifest.files
        ),
        targets=types,
        output=str(folder),
        plan_only=plan_only,
        threads=options.threads,
        options=options.encode(),
    )


def _follow(
    command: list[str],
    request: Request,
    progress: Progress,
    keep: Callable[[Produced], None],
) -> list[str]:
    """Run the converter to its end; return its warnings."""
    warnings: list[str] = []
    done: dict[str, int] = {}
    for event in run_converter(command, request):
        match event:
            case Planned():
                progress.begin(event.target, total=event.size)
                done[event.target] = 0
            case Advanced():
                progress.advance(event.target, event.done - done.get(event.target, 0))
                done[event.target] = event.done
            case Produced():
                progress.end(event.target, note="converted")
                keep(event)
            case Warned():
                warnings.append(event.message)
    return warnings


def record_result(
    vault: Vault, parent: Artifact, converter: str, produced: Produced, folder: Path
) -> Artifact:
    """Take the result into the store and catalogue it."""
    entries = [
        entry
        for entry in vault.manifest(parent).files
        if entry.path.lower().startswith(_CARRIED) and "/" not in entry.path
    ]
    try:
        for name in produced.files:
            path = fsio.safe_join(folder, name)
            if not fsio.is_regular(path):
                raise ConverterCrashed(f"the converter reported an unusable file: {name}")
            blob = vault.store.take(path)
            entries.append(FileEntry(path=name, digest=blob.digest, size=blob.size))
        manifest = Manifest.of(entries)
    except BadPath as error:
        raise ConverterCrashed(f"the converter reported an unusable file: {error}") from error
    artifact = Artifact(
        model=parent.model,
        revision=parent.revision,
        variant=produced.target,
        format=produced.format,
        quantization=produced.quantization,
        manifest=manifest.digest,
        license=parent.license,
        card=parent.card,
        origin=ConversionOrigin(
            parent=parent.digest,
            parent_manifest=parent.manifest,
            converter=converter,
            tools=dict(produced.tools),
            parameters=dict(produced.parameters),
        ),
    )
    vault.keep(artifact, manifest)
    details = {
        "artifact": str(artifact.digest),
        "parent": str(parent.digest),
        "bytes": str(manifest.size),
    }
    event = Event(verb="convert", subject=artifact.label, details=details)
    vault.catalog.add_artifact(artifact, manifest, event=event)
    return artifact
