"""What was measured of a conversion's result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from modelvault.app.conversion.measured import PLAIN, Measured
from modelvault.cli.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFigures(Document):
    """Figures of the whole model: of ``source``, ``rtn`` (plain rounding) and ``result``."""

    perplexity: Mapping[str, float] = field(hash=False)
    kl: Mapping[str, float] = field(hash=False)
    """Divergence from the source, in nats a token."""

    @classmethod
    def of_model(cls, measured: Measured) -> "QualityFigures | None":
        """Return the figures; None where there are none."""
        if not (measured.perplexity or measured.divergences):
            return None
        return QualityFigures(
            perplexity=_roles(measured.perplexity), kl=_roles(measured.divergences)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerQuality(Document):
    """Relative squared errors of one layer's outputs."""

    layer: int
    """The first is 1."""
    rtn: float
    """Of plain rounding."""
    result: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality(QualityFigures):
    """Everything that was measured."""

    layers: tuple[LayerQuality, ...]

    @classmethod
    def of(cls, measured: Measured) -> Self:
        """Return what was measured for programs."""
        return cls(
            perplexity=_roles(measured.perplexity),
            kl=_roles(measured.divergences),
            layers=tuple(
                LayerQuality(layer=number, rtn=layer.plain, result=layer.result)
                for number, layer in enumerate(measured.layers, start=1)
            ),
        )


def _roles(values: Mapping[str, float]) -> dict[str, float]:
    return {"rtn" if name == PLAIN else name: value for name, value in values.items()}
