"""How documents name artefacts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from modelvault.cli.documents.document import Document
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.names import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactName(Document):
    """One artefact: what people call it, and what it is."""

    reference: Reference
    """Full, revision included."""
    artifact: Digest
    """Digest of its record: its identity."""

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Return the names of an artefact."""
        return cls(reference=artifact.reference, artifact=artifact.digest)


def names_of(artifacts: Iterable[Artifact]) -> tuple[ArtifactName, ...]:
    """Return the names of several artefacts."""
    return tuple(map(ArtifactName.of, artifacts))
