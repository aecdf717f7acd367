"""Serves a folder in vLLM and lays its predictions beside others."""

from dataclasses import dataclass
from pathlib import Path

from tests.served.agreement import Agreement, compare
from tests.served.engine import Engine, Served
from tests.served.journey import Journey
from tests.served.reference import Reference
from tests.support.tinymodel import MIXED_SCRIPT
from tests.support.trainedmodel import encode

_TEXTS = (
    "The vault",
    "Water boils sooner on the mountain.",
    "Nobody carries a letter across the border without showing it twice. 금고는 봉인되었다.",
    MIXED_SCRIPT,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the tests of this room share."""

    journey: Journey
    engine: Engine
    measured: dict[str, Agreement]
    """By a title; printed at the end of the run."""

    def prompts(self, name: str) -> list[list[int]]:
        """Return tokens of texts of several lengths."""
        return [encode(self.journey.source(name), text).tolist() for text in _TEXTS]

    def serve(self, name: str, folder: Path, dtype: str) -> Served:
        """Return what vLLM says of a folder of this family or variant."""
        return self.engine.ask(folder, self.prompts(name), dtype=dtype)

    def compare(self, title: str, name: str, served: Served, folder: Path) -> Agreement:
        """Return how a server agrees with what a folder stands for; note it under ``title``."""
        agreement = compare(served, Reference(folder), self.prompts(name))
        self.measured[title] = agreement
        return agreement
