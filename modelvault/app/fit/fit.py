"""The verb: read a model's headers, compute what it needs, judge it against a GPU."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelvault.app.conversion.warnings import card_warnings
from modelvault.app.fit.subject import Subject
from modelvault.app.timing import timed
from modelvault.errors import BadOption, UnsuitableArtifact
from modelvault.fit.advice import Advice, advise
from modelvault.fit.cache import CacheType, Load
from modelvault.fit.estimate import Estimate, Model, estimate
from modelvault.fit.files import ReadModel, Variant, find_variants, projector_size, read_variant
from modelvault.fit.gpus import Gpu
from modelvault.fit.quantizations import BITS, MIXES, folder_size, gguf_size
from modelvault.fit.runtimes import Runtime, find_runtime
from modelvault.fit.shape import LARGEST_CONTEXT, ModelShape
from modelvault.fit.verdict import Judged, Place, Verdict, judge
from modelvault.sources.fetch.spent import ExcerptsSpent

_log = logging.getLogger(__name__)

USUAL_CONTEXT = 8192
"""Tokens that are assumed where nobody says how many."""
MOST_GPUS = 64
MOST_SEQUENCES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What a user says besides the model."""

    gpu: Gpu | None = None
    """None where neither a name was given nor the machine has one."""
    gpus: int = 1
    context: int | None = None
    sequences: int = 1
    cache: CacheType = CacheType.F16
    runtime: str | None = None
    """None for the one that the weights' format is for."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant.

        Raises:
            BadOption: As said.
        """
        bounds = (
            ("--gpus", self.gpus, MOST_GPUS),
            ("--context", self.context or 1, LARGEST_CONTEXT),
            ("--concurrency", self.sequences, MOST_SEQUENCES),
        )
        for option, value, most in bounds:
            if not 1 <= value <= most:
                raise BadOption(f"{option} {value}: 1 to {most} can be computed")
        if self.context is not None and self.context < 1:
            raise BadOption(f"--context {self.context}: 1 to {LARGEST_CONTEXT} can be computed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRow:
    """One quantisation of a model."""

    label: str
    weights: int
    """Bytes."""
    made: bool
    """Whether it is there; False for one that a conversion would make."""
    needs: Estimate
    judged: Judged | None
    """None where no GPU is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What ``fit`` found."""

    label: str
    place: str
    """``vault``, ``files`` or ``remote``."""
    shape: ModelShape
    runtime: Runtime
    load: Load
    gpu: Gpu | None
    gpus: int
    row: FitRow
    """What was asked about."""
    table: tuple[FitRow, ...]
    """The quantisations of the family, the largest first."""
    best: FitRow | None
    """The largest that fits; None where none does, or no GPU is known."""
    exact: bool
    """Whether the weights are the tensors' bytes."""
    assumptions: tuple[str, ...]
    advice: tuple[Advice, ...]


@timed(_log, "fit")
def fit(subject: Subject, options: FitOptions) -> Fit:
    """Return whether a model fits, what of its family would, and what was assumed.

    Raises:
        UnsuitableArtifact: It has no weights that can be read, or the runtime does not load them.
        ShapeUnknown: What memory depends on is missing, or cannot be true.
        MalformedWeights: A header is malformed.
        BadOption: The runtime has no such cache, or so many GPUs cannot share the model.
        FetchError: The source cannot be reached or refuses.
    """
    variants = find_variants(subject.files)
    runtime = _runtime(variants, options)
    variant = _choose(variants, runtime, subject, options)
    read = _read(variant, subject)
    load = Load(
        context=options.context or min(read.shape.context or USUAL_CONTEXT, USUAL_CONTEXT),
        sequences=options.sequences,
        cache=options.cache,
    )
    family = _Family(subject=subject, read=read, runtime=runtime, load=load, options=options)
    table = family.rows(variants)
    row = family.asked(table)
    return Fit(
        label=subject.label,
        place=subject.place,
        shape=read.shape,
        runtime=runtime,
        load=load,
        gpu=options.gpu,
        gpus=options.gpus,
        row=row,
        table=table,
        best=next((item for item in table if _fits(item)), None),
        exact=read.table.exact and row.made,
        assumptions=_assumptions(read, runtime, load, options, row),
        advice=_advice(subject, runtime, options, read.shape, row),
    )


def _runtime(variants: Sequence[Variant], options: FitOptions) -> Runtime:
    """Return the runtime that was named, or the one that the format is for."""
    if options.runtime is not None:
        return find_runtime(options.runtime)
    gguf = all(variant.format == "gguf" for variant in variants)
    return find_runtime("llamacpp" if gguf else "vllm")


def _choose(
    variants: Sequence[Variant], runtime: Runtime, subject: Subject, options: FitOptions
) -> Variant:
    """Return the variant whose headers are read: the one that is meant, else the largest."""
    wanted = subject.quantization.upper()
    own = [item for item in variants if item.format in (*runtime.formats, "pytorch")]
    named = [item for item in variants if wanted and item.label.upper() == wanted]
    if named:
        own = named
    if not own and "safetensors" in runtime.formats:
        raise UnsuitableArtifact(
            f"{subject.label} is GGUF, which {runtime.name} does not load",
            hint="ask for --runtime llamacpp or ollama, or pull the model's safetensors",
        )
    fitting = own or list(variants)
    if options.gpu is None or named:
        return fitting[-1]
    room = options.gpu.memory * options.gpus
    return next((item for item in reversed(fitting) if item.size < room), fitting[0])


def _read(variant: Variant, subject: Subject) -> ReadModel:
    whole = subject.place != "remote" or variant.format != "gguf"
    try:
        return read_variant(variant, subject.files, whole=whole)
    except ExcerptsSpent:
        _log.info("%s: headers are longer than what is fetched", subject.label)
        return read_variant(variant, subject.files, whole=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """The quantisations of one model, judged alike."""

    subject: Subject
    read: ReadModel
    runtime: Runtime
    load: Load
    options: FitOptions

    def rows(self, variants: Sequence[Variant]) -> tuple[FitRow, ...]:
        """Return every quantisation that is there or could be made, the largest first."""
        read, runtime = self.read, self.runtime
        native = read.variant.format in (*runtime.formats, "pytorch")
        rows = {}
        if native:
            for item in variants:
                if item.format == read.variant.format:
                    size = read.table.size if item is read.variant else item.size
                    label = read.label if item is read.variant else item.label
                    rows[label or item.label] = self._row(label or "as it is", size, made=True)
        for label, size in self._others(native=native):
            if label not in rows:
                rows[label] = self._row(label, size, made=False)
        return tuple(sorted(rows.values(), key=lambda row: -row.weights))

    def _others(self, *, native: bool) -> list[tuple[str, int]]:
        """Return what conversions would make, as far as that can be computed."""
        table, layers = self.read.table, len(self.read.shape.layers)
        if not table.tensors or (native and not table.is_whole):
            return []
        if "gguf" in self.runtime.formats:
            return [(label, gguf_size(table, label, layers)) for label in MIXES]
        if self.read.variant.format == "gguf":
            return []
        return [(label, folder_size(table, label)) for label in BITS if label != "BF16"]

    def asked(self, table: Sequence[FitRow]) -> FitRow:
        """Return the row that was asked about.

        What is there, where the runtime loads it; else the largest that fits, or the usual one.
        """
        made = [row for row in table if row.made]
        wanted = self.subject.quantization.upper()
        named = [row for row in table if wanted and row.label.upper() == wanted]
        label = self.read.label or "as it is"
        own = [row for row in made if row.label == label]
        usual = [row for row in table if row.label == "Q4_K_M"]
        fitting = [row for row in table if _fits(row)]
        found = named or own or fitting or usual or list(table)
        if not found:
            raise UnsuitableArtifact(
                f"{self.subject.label}: {self.runtime.name} does not load"
                f" {self.read.variant.format}, and what it would be converted to is not known",
                hint="pull its safetensors in 16 bits, or name another --runtime",
            )
        return found[0]

    def _row(self, label: str, weights: int, *, made: bool) -> FitRow:
        model = Model(
            shape=self.read.shape,
            weights=weights,
            projector=projector_size(self.subject.files) if self._has_projector() else 0,
        )
        gpu, gpus = self.options.gpu, self.options.gpus
        needs = estimate(model, self.runtime, self.load, gpus=gpus)
        judged = judge(model, self.runtime, self.load, Place(gpu=gpu, count=gpus)) if gpu else None
        return FitRow(label=label, weights=weights, made=made, needs=needs, judged=judged)

    def _has_projector(self) -> bool:
        return "gguf" in self.runtime.formats and self.read.variant.format == "gguf"


def _fits(row: FitRow) -> bool:
    return row.judged is not None and row.judged.verdict is Verdict.FITS


def _assumptions(
    read: ReadModel, runtime: Runtime, load: Load, options: FitOptions, row: FitRow
) -> tuple[str, ...]:
    found = [*read.shape.assumptions, *read.notes]
    if options.context is None:
        trained = f", of {read.shape.context:,} it was trained for" if read.shape.context else ""
        found.append(f"a context of {load.context:,} tokens{trained}: --context says another")
    elif read.shape.context and load.context > read.shape.context:
        found.append(f"it was trained for {read.shape.context:,} tokens, fewer than asked for")
    sequences = f"{load.sequences} sequences" if load.sequences > 1 else "one sequence"
    found.append(
        f"{sequences} at once, each with its whole context in a cache of {load.cache.label}"
    )
    if not row.made:
        found.append(f"{row.label} is computed from the shapes: it is not made yet")
    if runtime.splits_tensors:
        found += [
            f"{runtime.name} may use {runtime.share_note}",
            "activations of a step of 8,192 tokens and 256 chosen ones, graphs of 16 MiB a layer",
            "600 MiB for the driver's context and the libraries",
        ]
        if options.gpus > 1:
            found.append("512 MiB on each GPU for the exchange between them")
    else:
        found += [
            "all layers on the GPU; batches of 512 tokens with flash attention, as is the default",
            "450 MiB for the driver's context and the libraries",
        ]
        if options.gpus > 1:
            found.append("layers spread evenly; the fullest GPU is the one that is told of")
    if options.gpu is not None and options.gpu.used:
        found.append("what other programs hold of the GPU now stays held")
    return tuple(found)


def _advice(
    subject: Subject, runtime: Runtime, options: FitOptions, shape: ModelShape, row: FitRow
) -> tuple[Advice, ...]:
    license_ = subject.license
    named = (license_.name or license_.id) if license_ else ""
    quality = [
        Advice(text=text, source="docs/guides/convert.md")
        for text in card_warnings(subject.card, [row.label])
    ]
    return (
        *quality,
        *advise(
            runtime=runtime.name,
            sequences=options.sequences,
            architecture=shape.architecture,
            license_id=named,
        ),
    )


def with_local_gpus(options: FitOptions, local: Sequence[Gpu]) -> FitOptions:
    """Return the options with the machine's own GPU, where none is named and it has enough.

    Raises:
        BadOption: More are asked for than there are.
    """
    if options.gpu is not None or not local:
        return options
    if options.gpus > len(local):
        raise BadOption(
            f"--gpus {options.gpus}: this machine has {len(local)}",
            hint="name the GPU that is meant with --gpu",
        )
    smallest = min(local[: options.gpus], key=lambda gpu: gpu.free)
    return replace(options, gpu=smallest)
