"""How the plan of a pull reads: lines for people, a document for programs."""

from collections.abc import Iterable, Sequence

from modelvault.app.conversion.assess import Convertible
from modelvault.app.left_out import LeftOutGroup, group_left_out
from modelvault.app.pull import PullPlan
from modelvault.cli.lines import text
from modelvault.cli.lines.table import Column, Line, Table
from modelvault.core.artifact import HubOrigin
from modelvault.sources.fetch.speed import Speed

_NAMED = 5
"""Files that a warning names."""
_EVERYTHING = "the same command with --include '*' takes everything, as one artefact"


def plan_lines(
    plan: PullPlan, speed: Speed | None, convertible: Sequence[Convertible]
) -> list[Line]:
    """Return what would be pulled, why, and what it would take.

    Args:
        plan: The plan.
        speed: How fast bytes come; None where that was not measured.
        convertible: What converters say of it.
    """
    offer = plan.offer
    files = Table(
        columns=(
            Column("SIZE", right=True),
            Column("FILE", least=16),
            Column("SCAN", spare=1),
            Column("", spare=2),
        ),
        rows=[
            (
                text.size(file.known_size),
                file.path,
                file.scan,
                "in the vault" if file.path in plan.stored else "",
            )
            for file in plan.selection.chosen
        ],
    )
    return [
        f"{offer.model} at {offer.revision or 'a revision named after its content'}",
        f"licence: {license_text(plan)}",
        *_access_lines(plan),
        files,
        *left_out_lines(plan),
        *_quantization_lines(plan),
        *convertible_lines(convertible),
        (
            f"{text.size(plan.size)} in {text.count(len(plan.selection.chosen), 'file')}; "
            f"{text.size(plan.stored_size)} already in the vault, "
            f"{text.size(plan.to_fetch)} to fetch, {text.size(plan.free)} free"
        ),
        *([_time_line(plan, speed)] if speed is not None else []),
    ]


def convertible_lines(convertible: Sequence[Convertible]) -> list[str]:
    """Return to what a model can be converted, and to what it cannot, with the reason."""
    can = [item for item in convertible if item.targets]
    lines = []
    if can:
        lines.append(f"can be converted to {', '.join(map(_targets, can))}")
    reasons: dict[tuple[str, str, bool], list[str]] = {}
    for item in convertible:
        if not item.targets:
            reasons.setdefault((item.reason, item.hint, item.installed), []).append(item.converter)
    for (reason, hint, installed), names in reasons.items():
        begin = f"cannot be converted to {', '.join(names)}"
        if not installed:
            begin = f"whether it can be converted to {', '.join(names)} cannot be said here"
        end = f" ({hint})" if hint else ""
        lines.append(f"{begin}: {text.visible(reason, longest=300)}{end}")
    return [*lines, *dict.fromkeys(warning for item in can for warning in item.warnings)]


def _targets(item: Convertible) -> str:
    if item.targets == (item.converter.upper(),):
        return item.converter
    return f"{item.converter} ({' '.join(item.targets)})"


def _access_lines(plan: PullPlan) -> list[str]:
    origin = plan.offer.origin
    if not isinstance(origin, HubOrigin):
        return []
    access = [word for word, on in (("gated", origin.gated), ("private", origin.private)) if on]
    words = ", ".join(access)
    return [
        f"access: {words + ' (this token may read it)' if words else 'open to everybody'}",
        f"the Hub's scan: {plan.offer.scan or 'no verdict'}",
    ]


def _quantization_lines(plan: PullPlan) -> list[Line]:
    groups = plan.quantizations
    if not groups:
        return []
    table = Table(
        columns=(
            Column("SIZE", right=True),
            Column("QUANTISATION"),
            Column("FILES", right=True, spare=1),
            Column("TAKE IT ALONE"),
        ),
        rows=[
            (_size(group.size), group.label, str(len(group.files)), f"--include '{group.include}'")
            for group in groups
        ],
    )
    return [f"{len(groups)} quantisations of one model:", table]


def _time_line(plan: PullPlan, speed: Speed) -> str:
    seconds = seconds_left(plan, speed)
    return f"about {text.duration(seconds)} at {text.size(speed.rate)}/s, measured just now"


def seconds_left(plan: PullPlan, speed: Speed) -> float:
    """Return how long the missing bytes take at the measured rate, in seconds."""
    return plan.to_fetch / speed.rate


def license_text(plan: PullPlan) -> str:
    """Return the licence as one line."""
    license_ = plan.offer.license
    if license_ is None:
        return "not declared"
    return " ".join(part for part in (license_.name or license_.id, license_.link) if part)


def left_out_lines(plan: PullPlan) -> list[str]:
    """Return what is not pulled, with the reason for each file."""
    left_out = plan.selection.left_out
    if not left_out:
        return []
    total = _size(_total(item.size for item in left_out))
    lines = [f"left out: {text.count(len(left_out), 'file')}, {total} ({_EVERYTHING})"]
    return lines + [f"  {_size(item.size)} {item.path}: {item.reason}" for item in left_out]


def left_out_warnings(plan: PullPlan) -> list[str]:
    """Return what is not pulled though nobody asked for that, a line for each reason."""
    groups = [group for group in group_left_out(plan.selection.left_out) if not group.is_users]
    lines = [f"left out: {group_text(group)}" for group in groups]
    return [*lines, _EVERYTHING] if lines else []


def left_out_notes(plan: PullPlan) -> list[str]:
    """Return what the user's own patterns leave out, a line for each."""
    groups = [group for group in group_left_out(plan.selection.left_out) if group.is_users]
    return [f"left out: {group_text(group)}" for group in groups]


def group_text(group: LeftOutGroup) -> str:
    """Return files that are left out for one reason: some of them, how many, and why."""
    names = ", ".join(text.visible(path) for path in group.paths[:_NAMED])
    more = group.count - min(_NAMED, len(group.paths))
    size = f" ({text.size(group.size)})" if group.size is not None else ""
    return f"{names}{f' and {more} more' if more else ''}{size}: {group.reason}"


def _total(sizes: Iterable[int | None]) -> int | None:
    """Return the sum; None where the source did not say how long each file is."""
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)


def _size(size: int | None) -> str:
    return "size not known" if size is None else text.size(size)
