"""The plan and the outcome of a conversion, for people."""

from collections.abc import Iterator

from modelvault.app.conversion.convert import Converted
from modelvault.app.conversion.measured import measured_of
from modelvault.app.conversion.plan import ConversionPlan, TargetPlan
from modelvault.cli.lines import text
from modelvault.cli.lines.quality import figures_line
from modelvault.cli.lines.table import Line, Table
from modelvault.cli.lines.tensors import FILE_COLUMN, TENSOR_COLUMNS


def plan_lines(plan: ConversionPlan) -> Iterator[Line]:
    """Yield the plan for people: each target's tensors and its sum, then the disk."""
    for target in plan.targets:
        if target.tensors:
            yield _table(target)
        yield _summary(target)
        yield ""
    room = "" if plan.fits else ": not enough"
    yield f"disk: {text.size(plan.size)} to write, {text.size(plan.free)} free{room}"


def _table(target: TargetPlan) -> Table:
    several = len({tensor.file for tensor in target.tensors}) > 1
    return Table(
        columns=(*TENSOR_COLUMNS, *((FILE_COLUMN,) if several else ())),
        rows=[
            (
                text.visible(tensor.name),
                text.visible(tensor.type),
                " x ".join(map(str, tensor.shape)),
                str(tensor.offset),
                str(tensor.size),
                *((text.visible(tensor.file),) if several else ()),
            )
            for tensor in target.tensors
        ],
    )


def _summary(target: TargetPlan) -> str:
    planned = target.planned
    return (
        f"{planned.target}: {text.size(planned.size)} ({planned.size:,} bytes), "
        f"{text.count(planned.tensors, 'tensor')}, {planned.parameters:,} parameters, "
        f"{target.bits_per_weight:.2f} bits per weight"
        f"{', already here' if target.stored else ''}"
    )


def result_lines(done: Converted) -> Iterator[str]:
    """Yield the outcome for people."""
    for item in done.artifacts:
        yield f"{item.label} converted: artefact {item.digest}"
        measured = measured_of(item)
        if measured is not None and (line := figures_line(measured)):
            yield f"{item.label}: {line}"
    for item in done.skipped:
        yield f"{item.label} is already here"
