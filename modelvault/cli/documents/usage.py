"""What ``du`` prints."""

from dataclasses import dataclass
from typing import Self

from modelvault.app.usage import VaultUsage
from modelvault.catalog.values import ModelUsage
from modelvault.cli.documents.document import Document
from modelvault.core.names import ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedByModel(Document):
    """How much one model takes."""

    model: ModelName
    artifact_count: int
    size: int
    """Bytes of all its files, each artefact on its own."""
    stored_size: int
    """Bytes of them on the disk, where each file is kept once."""
    shared_size: int
    """Of ``stored_size``, what other models hold, too."""

    @classmethod
    def of(cls, used: ModelUsage) -> Self:
        """Return one model for programs."""
        return cls(
            model=used.model,
            artifact_count=used.artifacts,
            size=used.size,
            stored_size=used.stored,
            shared_size=used.shared,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedSpace(Document):
    """How much a vault takes."""

    models: tuple[UsedByModel, ...]
    size: int
    """Bytes of all files, each artefact on its own."""
    stored_size: int
    """Bytes of them on the disk."""
    unfinished_size: int
    """Bytes of unfinished downloads, imports and conversions."""
    quarantined_size: int
    """Bytes that failed a check."""

    @classmethod
    def of(cls, found: VaultUsage) -> Self:
        """Return how much a vault takes for programs."""
        return cls(
            models=tuple(map(UsedByModel.of, found.usage.models)),
            size=found.usage.size,
            stored_size=found.usage.stored,
            unfinished_size=found.unfinished,
            quarantined_size=found.quarantined,
        )
