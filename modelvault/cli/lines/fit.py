"""How ``fit`` reads: the verdict, a bar of how the memory is spent, how far one could go."""

import sys
from collections.abc import Iterator, Sequence

from modelvault.app.fit.fit import Fit, FitRow
from modelvault.cli.lines import text
from modelvault.cli.lines.table import Column, Line, Table
from modelvault.fit.estimate import Estimate

_SHADES = ("█", "▓", "▒", "░", "▄", "▁")
_PLAIN = ("#", "=", "+", ":", "%", "~")
_FREE = ("·", ".")
_GIB = 1024**3
_DEFAULT_WIDTH = 60
_COLUMNS = (
    Column("QUANTISATION"),
    Column("WEIGHTS", right=True, spare=2),
    Column("CACHE", right=True, spare=3),
    Column("REST", right=True, spare=4),
    Column("NEEDS", right=True),
    Column("FITS"),
    Column("CONTEXT", right=True, spare=1),
    Column("SEQUENCES", right=True, spare=1),
    Column("", spare=5),
)


def verdict_line(found: Fit) -> str:
    """Return the verdict in one line, as other commands repeat it."""
    row, gpu = found.row, found.gpu
    needs = f"{gib(row.needs.total)} with {found.load.context:,} tokens in {found.runtime.name}"
    each = " on each" if found.gpus > 1 else ""
    if row.judged is None or gpu is None:
        return f"needs {needs}{each}"
    where = f"{found.gpus} x {gpu.name}" if found.gpus > 1 else gpu.name
    return f"{row.judged.verdict.value} on {where}: {needs}{each}, of {gib(row.judged.budget)}"


def fit_lines(found: Fit, *, width: int = _DEFAULT_WIDTH, shades: bool | None = None) -> list[str]:
    """Return what was found, for people.

    Args:
        found: What ``fit`` found.
        width: Of the bar, in characters.
        shades: Whether the bar may use more than ASCII; None for what the output can show.
    """
    row = found.row
    head = f"{text.visible(found.label)}{'' if _says(found, row) else f' as {row.label}'}"
    lines = [f"{head}: {verdict_line(found)}", ""]
    lines += bar_lines(row.needs, row.judged.budget if row.judged else None, width, shades=shades)
    lines += ["", *_limit_lines(found), *_best_lines(found)]
    for advice in found.advice:
        lines.append(f"note       {text.visible(advice.text, longest=300)} ({advice.source})")
    lines += ["", "assumed:"]
    lines += [f"  - {text.visible(line, longest=300)}" for line in found.assumptions]
    return lines


def table_lines(found: Fit) -> Iterator[Line]:
    """Return the family of quantisations, one a line."""
    load = found.load
    yield f"{text.visible(found.label)} in {found.runtime.name}: {_place(found)}"
    sequences = text.count(load.sequences, "sequence")
    yield f"{sequences} of {load.context:,} tokens, cache of {load.cache.label}"
    yield ""
    yield Table(columns=_COLUMNS, rows=[_cells(row) for row in found.table])
    yield ""
    yield from _best_lines(found)
    yield "assumed:"
    yield from (f"  - {text.visible(line, longest=300)}" for line in found.assumptions)


def _cells(row: FitRow) -> tuple[str, ...]:
    needs, judged = row.needs, row.judged
    cache = needs.cache + needs.states
    return (
        text.visible(row.label),
        gib(needs.weights),
        gib(cache),
        gib(needs.total - needs.weights - cache),
        gib(needs.total),
        judged.verdict.value if judged else "-",
        f"{judged.largest_context:,}" if judged else "-",
        f"{judged.most_sequences:,}" if judged else "-",
        "there" if row.made else "computed",
    )


def bar_lines(
    needs: Estimate, budget: int | None, width: int, *, shades: bool | None = None
) -> list[str]:
    """Return how memory is spent: a bar of ``width`` characters and its legend.

    Args:
        needs: What is spent on what.
        budget: Bytes there are; None where no GPU is known.
        width: Characters.
        shades: Whether more than ASCII may be used; None for what the output can show.
    """
    wide = can_shade() if shades is None else shades
    marks, free = (_SHADES, _FREE[0]) if wide else (_PLAIN, _FREE[1])
    parts = [
        (name, size)
        for name, size in (
            ("weights", needs.weights),
            ("cache", needs.cache),
            ("states", needs.states),
            ("compute", needs.compute),
            ("graphs", needs.graphs),
            ("overhead", needs.overhead),
        )
        if size
    ]
    whole = max(needs.total, budget or 0)
    widths = share_width([size for _, size in parts], whole, width)
    bar = "".join(mark * count for mark, count in zip(marks, widths))
    legend = [f"{mark} {name} {gib(size)}" for mark, (name, size) in zip(marks, parts)]
    if budget is not None and needs.total <= budget:
        bar += free * (width - len(bar))
        legend.append(f"{free} free {gib(budget - needs.total)}")
    elif budget is not None:
        edge = min(width - 1, width * budget // whole)
        bar = f"{bar[:edge]}|{bar[edge + 1 :]}"
        legend.append(f"| ends at {gib(budget)}: {gib(needs.total - budget)} too much")
    return [f"[{bar}]", *_wrapped(legend, width)]


def share_width(sizes: Sequence[int], whole: int, width: int) -> list[int]:
    """Return how many of ``width`` characters each size gets: at least one, together no more."""
    if not whole:
        return [0 for _ in sizes]
    shares = [max(1, width * size // whole) for size in sizes]
    while sum(shares) > width:
        largest = max(range(len(shares)), key=lambda index: shares[index])
        shares[largest] -= 1
    return shares


def gib(size: int) -> str:
    """Return bytes as GPUs are measured, in GiB: ``5.4 GiB``; MiB below one."""
    if size < _GIB:
        return f"{size / 1024**2:.0f} MiB"
    return f"{size / _GIB:.1f} GiB"


def can_shade() -> bool:
    """Return whether standard output can show more than ASCII."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "".join((*_SHADES, *_FREE)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _wrapped(items: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) + 2 > width + 2:
            lines.append("")
        lines[-1] += f"{'  ' if lines[-1] else ''}{item}"
    return lines


def _says(found: Fit, row: FitRow) -> bool:
    return not row.label or found.label.upper().endswith(f":{row.label.upper()}")


def _place(found: Fit) -> str:
    if found.gpu is None:
        return "no GPU named"
    count = f"{found.gpus} x " if found.gpus > 1 else ""
    return f"{count}{text.visible(found.gpu.name)} of {gib(found.gpu.memory)}"


def _limit_lines(found: Fit) -> list[str]:
    judged, load = found.row.judged, found.load
    if judged is None:
        return ["no GPU is known: --gpu 24GB or --gpu rtx4090 says whether it fits"]
    asked = text.count(load.sequences, "sequence")
    context = f"up to {judged.largest_context:,} tokens for {asked}"
    if not judged.largest_context:
        context = f"none fits for {asked}"
    sequences = f"up to {judged.most_sequences:,} of {load.context:,} tokens"
    if not judged.most_sequences:
        sequences = f"not one of {load.context:,} tokens fits"
    return [f"context    {context}", f"sequences  {sequences}"]


def _best_lines(found: Fit) -> list[str]:
    if found.gpu is None:
        return []
    if found.best is None:
        return ["best       no quantisation of it fits"]
    made = "" if found.best.made else ", to be made with convert"
    return [f"best       {found.best.label} is the largest quantisation that fits{made}"]
