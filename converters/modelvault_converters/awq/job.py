"""One target of a request, with everything that making it takes."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from modelvault.core.protocol import Event, Planned, Request, lay
from modelvault_converters.awq.formats.outputs import SHARD, OutputCheckpoint
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to convert, how, and where to."""

    runner: LayerRunner
    """Of the model; its layers fit."""
    request: Request
    options: Options
    stack: ExitStack
    """Closes what is opened."""
    shard: int = SHARD
    """Bytes of tensors a weight file holds at most, where it holds more than one."""

    @property
    def model(self) -> Model:
        """What is converted."""
        return self.runner.model

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        return Path(self.request.output)


def plan(target: str, planned: OutputCheckpoint, job: Job) -> Iterator[Event]:
    """Yield what a target will be; where every tensor will lie, if only that is asked for."""
    yield Planned(
        target=target,
        size=planned.size,
        tensors=sum(1 for _ in planned.outputs()),
        parameters=job.model.parameters,
    )
    if job.request.plan_only:
        yield from lay(target, planned.planned_tensors())
