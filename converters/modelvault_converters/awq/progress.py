"""What is told of a long conversion: its steps, and the time that is left."""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TypeVar

from modelvault.core.protocol import Stepped
from modelvault_converters.awq.search.rounding import Step

T = TypeVar("T")

_RECENT = 8
"""Layers that the estimate looks back at."""
_INTERVAL = 1.0
"""Seconds between two steps that are told, the last of each layer apart."""


class StepReporter:
    """Tells of the steps of each layer; knows how long layers of an earlier run took."""

    def __init__(self, target: str, layers: int, seconds: Sequence[float] = ()) -> None:
        """Begin with a layer.

        Args:
            target: That is made.
            layers: Of the model.
            seconds: That the layers before took, in order.
        """
        self.seconds = list(seconds)
        """That each finished layer took."""
        self._target = target
        self._layers = layers
        self._begun = time.monotonic()
        self._told = 0.0

    def step(
        self, text: str, before: float | None = None, after: float | None = None
    ) -> Iterator[Stepped]:
        """Yield a step of the present layer, unless one was told just now.

        Args:
            text: What was done.
            before: Relative error before.
            after: … and after.
        """
        now = time.monotonic()
        if now - self._told >= _INTERVAL:
            self._told = now
            yield self._stepped(text, len(self.seconds) + 1, before, after)

    def parts(self, parts: Iterable[str]) -> Iterator[Stepped]:
        """Yield the parts of a step that has no error of its own."""
        for part in parts:
            yield from self.step(part)

    def steps(self, steps: Generator[Step, None, T]) -> Generator[Stepped, None, T]:
        """Yield the steps of a search; return what it returns."""
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                result: T = stop.value
                return result
            yield from self.step(step.text, step.before, step.after)

    def end_layer(self, before: float | None = None, after: float | None = None) -> Stepped:
        """Return the last step of the present layer; the next begins."""
        now = time.monotonic()
        self.seconds.append(now - self._begun)
        self._begun = self._told = now
        return self._stepped("layer", len(self.seconds), before, after)

    def _stepped(self, text: str, layer: int, before: float | None, after: float | None) -> Stepped:
        return Stepped(
            target=self._target,
            step=text,
            layer=layer,
            layers=self._layers,
            loss_before=before,
            loss_after=after,
            seconds_left=self._seconds_left(),
        )

    def _seconds_left(self) -> float | None:
        """Return the time until the last layer is done; None while nothing was measured."""
        recent = self.seconds[-_RECENT:]
        if not recent:
            return None
        mean = sum(recent) / len(recent)
        left = self._layers - len(self.seconds)
        spent = min(time.monotonic() - self._begun, mean) if left else 0.0
        return mean * left - spent
