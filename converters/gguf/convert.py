"""One conversion from request to finished files, as the events that tell of it."""

from collections.abc import Generator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from converters.gguf.plan import Plan, PlannedTarget, make_plan
from converters.gguf.quantize import quantizer_versions
from converters.gguf.stream import write_targets
from modelvault.core.protocol import Advanced, Event, Planned, Produced, Request, Warned


def convert(request: Request, stack: ExitStack) -> Generator[Event, None, None]:
    """Plan a request and, unless it asks for the plan only, carry it out.

    Args:
        request: What to convert, to what, and where.
        stack: Holds the weight files open; close it when the iteration is over.

    Yields:
        ``Warned`` and one ``Planned`` a target, then ``Advanced``, then one ``Produced`` a
        target once all files are flushed to disk.

    Raises:
        ConversionError: The source, a target or an option is refused.
        Corruption: A file is not what its size or format says.
        NoSpace: The results do not fit on the disk.
        OSError: The file system refuses.
    """
    plan = make_plan(request, stack)
    for message in plan.warnings:
        yield Warned(message=message)
    for item in plan.targets:
        yield Planned(
            target=item.target.name,
            size=item.container.size,
            tensors=len(plan.tensors),
            parameters=plan.weights,
        )
    if request.plan_only:
        return
    done = [0] * len(plan.targets)
    for progress in write_targets(plan, Path(request.output), threads=request.threads):
        for index, item in enumerate(plan.targets):
            if progress.done[index] != done[index]:
                yield Advanced(target=item.target.name, done=progress.done[index])
        done = list(progress.done)
    for item in plan.targets:
        yield _produced(plan, item)


def _produced(plan: Plan, item: PlannedTarget) -> Produced:
    target = item.target
    types = {placed.type for placed in item.container.tensors}
    tools = {"numpy": version("numpy"), **quantizer_versions(types)}
    blocks = any(type_.is_quantized for type_ in types)
    importance = plan.importance.parameters if plan.importance and blocks else {}
    return Produced(
        target=target.name,
        files=(item.file,),
        format="gguf",
        quantization=target.name,
        tools=tools,
        parameters={"type": target.name, **plan.parameters, **importance},
    )
