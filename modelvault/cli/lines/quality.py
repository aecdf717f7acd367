"""What was measured of a conversion's result, for people."""

from typing import Any

from modelvault.app.conversion.measured import PLAIN, RESULT, SOURCE, Measured
from modelvault.cli.lines.table import Column, Table


def figures_line(measured: Measured) -> str:
    """Return the figures of the whole model as one line; empty where there are none."""
    words = []
    if measured.perplexity:
        words.append(f"perplexity {_figures(measured.perplexity)}")
    if measured.divergences:
        words.append(f"divergence {_figures(measured.divergences)} nats a token")
    return "; ".join(words)


def layer_lines(measured: Measured) -> list[str]:
    """Return each layer's errors as a table; empty where there are none."""
    if not measured.layers:
        return []
    table = Table(
        columns=(
            Column("LAYER", right=True),
            Column("PLAIN ROUNDING", right=True),
            Column("RESULT", right=True),
            Column("OF PLAIN", right=True),
        ),
        rows=[
            (
                str(number),
                f"{layer.plain:.3g}",
                f"{layer.result:.3g}",
                f"{layer.result / layer.plain:.0%}" if layer.plain else "-",
            )
            for number, layer in enumerate(measured.layers, start=1)
        ],
    )
    return table.lines()


def _figures(values: "dict[str, float] | Any") -> str:
    order = (SOURCE, PLAIN, RESULT)
    return ", ".join(f"{name} {values[name]:.4g}" for name in order if name in values)
