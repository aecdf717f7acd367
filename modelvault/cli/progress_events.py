"""Progress for programs: events on standard error, imported when one reads."""

from typing import TypedDict

from modelvault.cli.documents.printing import print_event
from modelvault.cli.documents.progress import (
    BeginEvent,
    EndEvent,
    MovedEvent,
    OverallEvent,
    RetryEvent,
    StepEvent,
)
from modelvault.cli.figures import Figures
from modelvault.core.protocol import Stepped


class JsonLines:
    """One JSON object a line; see ``modelvault.cli.documents.progress``."""

    def begun(self, name: str, task: Figures) -> None:
        """Write ``begin``."""
        print_event(BeginEvent(task=name, **_counted(task)))

    def moved(self, name: str, task: Figures) -> None:
        """Write ``progress``."""
        rate = round(task.rate)
        print_event(MovedEvent(task=name, rate=rate, seconds_left=task.left, **_counted(task)))

    def retried(self, name: str, task: Figures, reason: str) -> None:
        """Write ``retry``."""
        print_event(RetryEvent(task=name, reason=reason, **_counted(task)))

    def stepped(self, step: Stepped, task: Figures, *, due: bool) -> None:  # noqa: ARG002
        """Write ``step``, for each step: programs draw from them."""
        print_event(
            StepEvent(
                task=step.target,
                step=step.step,
                layer=step.layer,
                layers=step.layers,
                loss_before=step.loss_before,
                loss_after=step.loss_after,
                seconds_left=step.seconds_left,
                **_counted(task),
            )
        )

    def ended(self, name: str, task: Figures, note: str, *, due: bool) -> None:  # noqa: ARG002
        """Write ``end``, for each task: programs count them."""
        print_event(EndEvent(task=name, note=note, **_counted(task)))

    def overall(self, everything: Figures, ended: int, *, final: bool) -> None:
        """Write ``overall``."""
        print_event(
            OverallEvent(
                ended=ended,
                final=final,
                rate=round(everything.average if final else everything.rate),
                seconds_left=everything.left,
                **_counted(everything),
            )
        )


class _Counts(TypedDict):
    done: int
    total: int | None
    resumed: int
    retries: int


def _counted(figures: Figures) -> _Counts:
    return {
        "done": figures.done,
        "total": None if figures.is_open else figures.total,
        "resumed": figures.resumed,
        "retries": figures.retries,
    }
