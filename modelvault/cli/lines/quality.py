"""What a conversion made and what was measured of it, for people and for programs."""

from collections.abc import Iterator
from typing import Any

from modelvault.app.conversion.convert import Converted
from modelvault.app.conversion.measured import PLAIN, RESULT, SOURCE, Measured, read_measured
from modelvault.cli.lines import text
from modelvault.core.artifact import Artifact, ConversionOrigin


def result_lines(done: Converted) -> Iterator[str]:
    """Yield the outcome for people."""
    for item in done.artifacts:
        yield f"{item.label} converted: artefact {item.digest}"
        measured = measured_of(item)
        if measured is not None and (line := figures_line(measured)):
            yield f"{item.label}: {line}"
    for item in done.skipped:
        yield f"{item.label} is already here"


def measured_of(artifact: Artifact) -> Measured | None:
    """Return what was measured when an artefact was made; None for one that was not converted."""
    origin = artifact.origin
    return read_measured(origin.parameters) if isinstance(origin, ConversionOrigin) else None


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
    rows = [("LAYER", "PLAIN ROUNDING", "RESULT", "OF PLAIN")]
    rows += [
        (
            str(number),
            f"{layer.plain:.3g}",
            f"{layer.result:.3g}",
            f"{layer.result / layer.plain:.0%}" if layer.plain else "-",
        )
        for number, layer in enumerate(measured.layers, start=1)
    ]
    return text.columns(rows, right=frozenset({0, 1, 2, 3}))


def _figures(values: "dict[str, float] | Any") -> str:
    order = (SOURCE, PLAIN, RESULT)
    return ", ".join(f"{name} {values[name]:.4g}" for name in order if name in values)
