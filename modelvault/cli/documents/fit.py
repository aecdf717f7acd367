"""What ``fit`` prints."""

from dataclasses import dataclass
from typing import Literal, Self

from modelvault.app.fit.fit import Fit, FitRow
from modelvault.cli.documents.document import Document
from modelvault.fit.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class FitNeeds(Document):
    """What one GPU needs, in bytes; the fullest one where there are several."""

    weights: int
    cache: int
    """Keys and values of all sequences."""
    states: int
    """What recurrent layers keep of all sequences."""
    compute: int
    """What is needed while a step is computed."""
    graphs: int
    overhead: int
    """The driver's context, the libraries, the exchange between GPUs."""
    buffers: int
    """What the runtime itself counts: all but the overhead."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FitQuantization(Document):
    """One quantisation of the family."""

    label: str
    weights: int
    """Bytes of its tensors."""
    made: bool
    """Whether it is there; false for one that a conversion would make."""
    needs: FitNeeds
    verdict: Verdict | None
    """Null where no GPU is known."""
    largest_context: int | None
    """Tokens that so many sequences may have; 0 where none fits."""
    most_sequences: int | None
    """Sequences that may have so many tokens; 0 where none fits."""

    @classmethod
    def of(cls, row: FitRow) -> Self:
        """Return a quantisation for programs."""
        needs, judged = row.needs, row.judged
        return cls(
            label=row.label,
            weights=row.weights,
            made=row.made,
            needs=FitNeeds(
                weights=needs.weights,
                cache=needs.cache,
                states=needs.states,
                compute=needs.compute,
                graphs=needs.graphs,
                overhead=needs.overhead,
                buffers=needs.buffers,
                total=needs.total,
            ),
            verdict=judged.verdict if judged else None,
            largest_context=judged.largest_context if judged else None,
            most_sequences=judged.most_sequences if judged else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FitGpu(Document):
    """What it is to fit into."""

    name: str
    memory: int
    """Bytes of one."""
    used: int
    """Bytes that other programs hold of it now."""
    count: int
    budget: int
    """Bytes that the runtime may use on each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitAdvice(Document):
    """One thing to know."""

    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FitDocument(Document):
    """Whether a model fits, what of its family would, and what was assumed."""

    model: str
    place: Literal["vault", "files", "remote"]
    """Where its headers were read."""
    architecture: str
    trained_context: int
    """Tokens it was trained for; 0 where nothing says."""
    runtime: str
    context: int
    """Tokens of each sequence."""
    concurrency: int
    kv_cache: str
    gpu: FitGpu | None
    """Null where none is known."""
    verdict: Verdict | None
    exact: bool
    """Whether the weights are the tensors' own bytes."""
    asked: FitQuantization
    best: str | None
    """Label of the largest quantisation that fits; null where none does."""
    quantizations: tuple[FitQuantization, ...]
    """Of the family, the largest first."""
    assumptions: tuple[str, ...]
    advice: tuple[FitAdvice, ...]

    @classmethod
    def of(cls, found: Fit) -> Self:
        """Return what was found for programs."""
        asked = FitQuantization.of(found.row)
        judged = found.row.judged
        gpu = found.gpu
        place: Literal["vault", "files", "remote"] = found.place  # type: ignore[assignment] # one of these words
        return cls(
            model=found.label,
            place=place,
            architecture=found.shape.architecture,
            trained_context=found.shape.context,
            runtime=found.runtime.name,
            context=found.load.context,
            concurrency=found.load.sequences,
            kv_cache=found.load.cache.label,
            gpu=FitGpu(
                name=gpu.name,
                memory=gpu.memory,
                used=gpu.used,
                count=found.gpus,
                budget=judged.budget if judged else 0,
            )
            if gpu
            else None,
            verdict=asked.verdict,
            exact=found.exact,
            asked=asked,
            best=found.best.label if found.best else None,
            quantizations=tuple(FitQuantization.of(row) for row in found.table),
            assumptions=found.assumptions,
            advice=tuple(FitAdvice(text=item.text, source=item.source) for item in found.advice),
        )
