"""One conversion from request to finished files, as the events that tell of it."""

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from modelvault.core.ggml import GgmlType
from modelvault.core.protocol import (
    Advanced,
    Event,
    Planned,
    PlannedTensor,
    Produced,
    Request,
    Warned,
    lay,
)
from modelvault.errors import CheckFailed
from modelvault_converters.gguf.check.quality import (
    Check,
    Measured,
    read_check,
    reference_request,
    reference_target,
    require_checkable,
)
from modelvault_converters.gguf.plan import Plan, PlannedTarget, make_plan
from modelvault_converters.gguf.quantize import prepare, quantizer_versions
from modelvault_converters.gguf.stream import write_targets


def convert(request: Request, stack: ExitStack) -> Generator[Event, None, None]:
    """Plan a request and, unless it asks for the plan only, carry it out.

    Args:
        request: What to convert, to what, and where.
        stack: Holds the weight files open; close it when the iteration is over.

    Yields:
        ``Warned`` and one ``Planned`` a target; of a plan then ``Laid``. Else ``Advanced``,
        and one ``Produced`` a target once all files are flushed to disk and, where that is
        asked for, checked.

    Raises:
        ConversionError: The source, a target or an option is refused, or a check fails.
        Corruption: A file is not what its size or format says.
        NoSpace: The results do not fit on the disk.
        ConverterMissing: The quantiser's library, or that of the check, is missing.
        OSError: The file system refuses.
    """
    check = read_check(request.options)
    plan = make_plan(request, stack)
    if check is not None:
        require_checkable(plan)
    for message in plan.warnings:
        yield Warned(message=message)
    for item in plan.targets:
        yield Planned(
            target=item.target.name,
            size=item.container.size,
            tensors=len(plan.tensors),
            parameters=plan.weights,
        )
    prepare(_types(plan.targets))
    if request.plan_only:
        for item in plan.targets:
            yield from lay(item.target.name, _layout(item))
        return
    yield from _write(request, plan)
    if check is None:
        for item in plan.targets:
            yield _produced(plan, item, {})
    else:
        yield from _check(request, plan, check)


def _write(request: Request, plan: Plan) -> Iterator[Advanced]:
    done = [0] * len(plan.targets)
    for progress in write_targets(plan, Path(request.output), threads=request.threads):
        for index, item in enumerate(plan.targets):
            if progress.done[index] != done[index]:
                yield Advanced(target=item.target.name, done=progress.done[index])
        done = list(progress.done)


def _types(targets: Sequence[PlannedTarget]) -> set[GgmlType]:
    return {type_ for item in targets for type_ in item.types}


def _layout(item: PlannedTarget) -> Iterator[PlannedTensor]:
    for placed in item.container.tensors:
        yield PlannedTensor(
            name=placed.tensor.name,
            type=placed.type.name,
            shape=placed.tensor.shape,
            file=item.file,
            offset=placed.offset,
            size=placed.size,
        )


def _check(request: Request, plan: Plan, check: Check) -> Generator[Event, None, None]:
    """Yield what passes; files that do not are removed, and named together at the end."""
    folder = Path(request.output)
    objections: list[str] = []
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="check-") as scratch:
            measured, given = _measure(request, plan, check, Path(scratch))
            for item in plan.targets:
                distance, said = measured.compare(folder / item.file)
                if objection := measured.objection(item.target.name, distance):
                    objections.append(objection)
                    (folder / item.file).unlink()
                    continue
                found = measured.describe(distance, said, is_reference=item is given)
                yield _produced(plan, item, found)
    except CheckFailed:
        for item in plan.targets:
            (folder / item.file).unlink(missing_ok=True)
        raise
    if objections:
        raise CheckFailed(
            objections[0],
            hint="choose a larger type, give an importance matrix, or a larger --max-kl",
            issues=objections,
        )


def _measure(
    request: Request, plan: Plan, check: Check, scratch: Path
) -> tuple[Measured, PlannedTarget | None]:
    """Return the reference's predictions, and the target that is the reference, if one is."""
    given = reference_target(plan)
    reference, path = given, Path(request.output)
    if reference is None:
        with ExitStack() as stack:
            full = make_plan(reference_request(request, plan, scratch), stack)
            for _ in write_targets(full, scratch, threads=request.threads):
                pass
        reference, path = full.targets[0], scratch
    measured = Measured(
        check,
        path / reference.file,
        reference.target.name,
        scratch / "predictions",
        request.threads,
    )
    return measured, given


def _produced(plan: Plan, item: PlannedTarget, found: Mapping[str, str]) -> Produced:
    target = item.target
    types = _types([item])
    tools = {"numpy": version("numpy"), **quantizer_versions(types)}
    blocks = any(type_.is_quantized for type_ in types)
    importance: dict[str, str] = {}
    if plan.importance and blocks:
        importance |= plan.importance.parameters
        if unseen := item.unseen(plan.importance):
            importance["imatrix_unseen"] = ", ".join(unseen)
    return Produced(
        target=target.name,
        files=(item.file,),
        format="gguf",
        quantization=target.name,
        tools=tools,
        parameters={"type": target.name, **plan.parameters, **importance, **found},
    )
