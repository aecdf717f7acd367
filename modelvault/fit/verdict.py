"""Whether it fits, what else would, and what was assumed.

Example:
    >>> Verdict.TIGHT.value
    'tight'
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from modelvault.fit.cache import LLAMACPP_PADDING, Load
from modelvault.fit.estimate import Estimate, Model, estimate
from modelvault.fit.gpus import Gpu
from modelvault.fit.runtimes import Runtime

_COMFORT = 0.95
"""Of what a runtime may use, above which it is tight."""
_MOST_SEQUENCES = 1024
_UNBOUNDED = 1 << 20
"""Tokens up to which a context is looked for where nothing says what a model was trained for."""


class Verdict(StrEnum):
    """Whether a model fits."""

    FITS = "fits"
    TIGHT = "tight"
    """It loads, with little to spare or with sequences that wait for each other."""
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model is to be loaded."""

    gpu: Gpu
    count: int = 1
    """How many equal ones."""

    def budget(self, runtime: Runtime) -> int:
        """Return the bytes that a runtime may use on each."""
        return min(int(self.gpu.memory * runtime.share), self.gpu.free)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict, and how far one could go."""

    verdict: Verdict
    needs: Estimate
    budget: int
    """Bytes that the runtime may use on each GPU."""
    largest_context: int
    """Tokens that so many sequences may have; 0 where none fits."""
    most_sequences: int
    """Sequences that may have so many tokens; 0 where none fits."""


def judge(model: Model, runtime: Runtime, load: Load, place: Place) -> Judged:
    """Return whether a model fits with what is to be served.

    Raises:
        BadOption: The runtime has no such cache, or the heads cannot be divided.
    """
    budget = place.budget(runtime)

    def needs(context: int, sequences: int) -> Estimate:
        wanted = Load(context=context, sequences=sequences, cache=load.cache)
        return estimate(model, runtime, wanted, gpus=place.count)

    found = needs(load.context, load.sequences)
    return Judged(
        verdict=_verdict(found, needs(load.context, 1), budget, runtime),
        needs=found,
        budget=budget,
        largest_context=_largest(
            lambda context: needs(context, load.sequences).total <= budget,
            most=model.shape.context or _UNBOUNDED,
            step=LLAMACPP_PADDING,
        ),
        most_sequences=_largest(
            lambda sequences: needs(load.context, sequences).total <= budget,
            most=_MOST_SEQUENCES,
            step=1,
        ),
    )


def _verdict(all_: Estimate, one: Estimate, budget: int, runtime: Runtime) -> Verdict:
    """A runtime of pages has its headroom beside its budget, and queues what does not fit."""
    if all_.total <= (budget if runtime.splits_tensors else int(budget * _COMFORT)):
        return Verdict.FITS
    if (one if runtime.splits_tensors else all_).total <= budget:
        return Verdict.TIGHT
    return Verdict.NO


def _largest(fits: Callable[[int], bool], *, most: int, step: int) -> int:
    """Return the largest multiple of ``step`` up to ``most`` that fits; ``most`` itself counts."""
    if fits(most):
        return most
    low, high = 0, -(-most // step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle)
    return low * step
