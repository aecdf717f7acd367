"""How long work goes on, told on standard error."""

from dataclasses import dataclass
from typing import Literal

from modelvault.cli.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted(Document):
    done: int
    """Bytes that are there, those of earlier runs included."""
    total: int | None
    """Bytes it will take; null when unknown."""
    resumed: int
    """Bytes that were there before this run."""
    retries: int
    """Parts that had to be tried again so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginEvent(_Counted):
    """A task began."""

    event: Literal["begin"] = "begin"
    task: str
    """A path, a blob or a step; unique while it lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedEvent(_Counted):
    """A task moved; written twice a second at most."""

    event: Literal["progress"] = "progress"
    task: str
    """As it was announced by its begin."""
    rate: int
    """Bytes a second, lately."""
    seconds_left: float | None
    """At the present rate; null where nothing can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryEvent(_Counted):
    """A part of a task is tried again."""

    event: Literal["retry"] = "retry"
    task: str
    """As it was announced by its begin."""
    reason: str
    """Why, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent(_Counted):
    """A step of a conversion was done."""

    event: Literal["step"] = "step"
    task: str
    """The target that is made."""
    step: str
    """What was done; ``layer`` where a whole layer is finished."""
    layer: int
    layers: int
    """How many there are."""
    loss_before: float | None
    loss_after: float | None
    seconds_left: float | None
    """As the converter tells; null where it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvent(_Counted):
    """A task is over."""

    event: Literal["end"] = "end"
    task: str
    """As it was announced by its begin."""
    note: str
    """How it ended, where that is of interest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallEvent(_Counted):
    """All tasks together, where there is more than one."""

    event: Literal["overall"] = "overall"
    ended: int
    """Tasks that are over."""
    final: bool
    """Whether the work is over."""
    rate: int
    """Bytes a second: lately, or of the whole run where it is over."""
    seconds_left: float | None
    """At the present rate; null where nothing can be said."""
