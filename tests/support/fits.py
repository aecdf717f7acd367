"""What the tests of ``fit`` share: a GGUF computed, and set beside llama.cpp's own figures."""

from dataclasses import dataclass
from pathlib import Path

from modelvault.fit.cache import CacheType, Load
from modelvault.fit.estimate import Estimate, Model, estimate
from modelvault.fit.files import ModelFile, ReadModel, find_variants, read_variant
from modelvault.fit.runtimes import find_runtime
from tests.support.llamacpp_memory import Figures, measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Ours and theirs."""

    ours: Estimate
    theirs: Figures

    @property
    def off(self) -> float:
        """How far our sum is from theirs, as a part of theirs."""
        weights = self.theirs.weights or self.ours.weights
        theirs = weights + self.theirs.cache + self.theirs.states + self.theirs.compute
        return self.ours.buffers / theirs - 1


def read_gguf(path: Path) -> ReadModel:
    """Return what the header of a GGUF says."""
    file = ModelFile(path=path.name, size=path.stat().st_size, open=lambda: open(path, "rb"))
    (variant,) = find_variants([file])
    return read_variant(variant, [file])


def compare(
    path: Path, *, context: int, sequences: int = 1, cache: str = "f16", allocate: bool = True
) -> Compared:
    """Return what we compute for a GGUF, and what llama.cpp says."""
    read = read_gguf(path)
    load = Load(context=context, sequences=sequences, cache=CacheType.parse(cache))
    model = Model(shape=read.shape, weights=read.table.size)
    return Compared(
        ours=estimate(model, find_runtime("llamacpp"), load),
        theirs=measure(path, context=context, sequences=sequences, cache=cache, allocate=allocate),
    )
