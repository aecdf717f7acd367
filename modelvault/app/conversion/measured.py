"""What converters measured of their results, read from the parameters of the lineage.

A record may come from anywhere, so nothing in it is trusted to be a number.

Example:
    >>> read_measured({"perplexity.source": "8.1", "kl.awq": "0.02"}).divergence
    0.02
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.core.artifact import Artifact, ConversionOrigin

SOURCE, PLAIN, RESULT = "source", "plain rounding", "result"
_ROLES = {"source": SOURCE, "rtn": PLAIN}
"""Last parts of parameters' names; any other is the result."""
_LAYERS = "layer_errors"
_SUMMED_UP = re.compile(rf"{_LAYERS}|perplexity\..*|kl\..*")
_MOST_LAYERS = 1000

_GGUF = {
    ("perplexity", SOURCE): "check_reference_perplexity",
    ("perplexity", RESULT): "check_perplexity",
    ("kl", RESULT): "check_kl",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """Relative squared errors of one layer's outputs."""

    plain: float
    """Of plain rounding."""
    result: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Figures of one result; empty where nothing was measured."""

    perplexity: Mapping[str, float]
    """Of ``SOURCE``, ``PLAIN`` and ``RESULT``, as far as known."""
    divergences: Mapping[str, float]
    """From the source, in nats a token: of ``PLAIN`` and ``RESULT``."""
    layers: tuple[LayerError, ...]

    @property
    def divergence(self) -> float | None:
        """How far the result is from its source, in nats a token; None when not measured."""
        return self.divergences.get(RESULT)


def read_measured(parameters: Mapping[str, str]) -> Measured:
    """Return what the parameters of a lineage tell; what is no number is passed over."""
    found: dict[str, dict[str, float]] = {"perplexity": {}, "kl": {}}
    for key, text in parameters.items():
        kind, _, name = key.partition(".")
        if kind in found and (number := _number(text)) is not None:
            found[kind][_ROLES.get(name, RESULT)] = number
    for (kind, role), key in _GGUF.items():
        if (number := _number(parameters.get(key, ""))) is not None:
            found[kind][role] = number
    return Measured(
        perplexity=found["perplexity"],
        divergences=found["kl"],
        layers=_read_layers(parameters.get(_LAYERS, "")),
    )


def measured_of(artifact: Artifact) -> Measured | None:
    """Return what was measured when an artefact was made; None for one that was not converted."""
    origin = artifact.origin
    return read_measured(origin.parameters) if isinstance(origin, ConversionOrigin) else None


def is_summed_up(parameter: str) -> bool:
    """Return whether a parameter is a figure that ``read_measured`` brings under one head."""
    return _SUMMED_UP.fullmatch(parameter) is not None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _read_layers(text: str) -> tuple[LayerError, ...]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(value, list) or len(value) > _MOST_LAYERS:
        return ()
    layers = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_number, pair)):
            return ()
        layers.append(LayerError(plain=pair[0], result=pair[1]))
    return tuple(layers)
