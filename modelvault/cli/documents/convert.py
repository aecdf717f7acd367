"""What ``convert`` prints: a plan, or what was made."""

from dataclasses import dataclass
from typing import Self

from modelvault.app.conversion.convert import Converted
from modelvault.app.conversion.measured import measured_of
from modelvault.app.conversion.plan import ConversionPlan, TargetPlan
from modelvault.cli.documents.artifacts import ArtifactName, names_of
from modelvault.cli.documents.document import Document
from modelvault.cli.documents.quality import QualityFigures
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.names import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidTensor(Document):
    """Where one tensor will lie."""

    name: str
    type: str
    """As the format spells it."""
    shape: tuple[int, ...]
    """Slowest dimension first, whatever the file's order."""
    file: str
    offset: int
    """Bytes from the start of the file."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTarget(Document):
    """What one target will be."""

    target: str
    in_vault: bool
    """Whether it is there already, so that it would not be made."""
    size: int
    parameters: int
    """Number of weights."""
    bits_per_weight: float
    tensors: tuple[LaidTensor, ...]
    """In the order of the files; empty where the converter does not tell."""

    @classmethod
    def of(cls, target: TargetPlan) -> Self:
        """Return one target for programs."""
        return cls(
            target=target.planned.target,
            in_vault=target.stored,
            size=target.planned.size,
            parameters=target.planned.parameters,
            bits_per_weight=round(target.bits_per_weight, 4),
            tensors=tuple(
                LaidTensor(
                    name=tensor.name,
                    type=tensor.type,
                    shape=tensor.shape,
                    file=tensor.file,
                    offset=tensor.offset,
                    size=tensor.size,
                )
                for tensor in target.tensors
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedConversion(Document):
    """What a conversion would make: ``--dry-run``."""

    targets: tuple[PlannedTarget, ...]
    size: int
    """Bytes of all that would be made."""
    free: int
    """Bytes free on the vault's file system."""
    fits: bool
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, plan: ConversionPlan) -> Self:
        """Return a plan for programs."""
        return cls(
            targets=tuple(map(PlannedTarget.of, plan.targets)),
            size=plan.size,
            free=plan.free,
            fits=plan.fits,
            warnings=plan.warnings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedArtifact(Document):
    """One variant that was made."""

    reference: Reference
    artifact: Digest
    quality: QualityFigures | None
    """Null where nothing was measured of the whole model."""

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Return one variant for programs."""
        measured = measured_of(artifact)
        return cls(
            reference=artifact.reference,
            artifact=artifact.digest,
            quality=QualityFigures.of_model(measured) if measured else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedConversion(Document):
    """What a conversion made."""

    artifacts: tuple[ConvertedArtifact, ...]
    skipped: tuple[ArtifactName, ...]
    """Variants that the vault had already."""
    replaced: tuple[ArtifactName, ...]
    """Earlier variants that made room."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, done: Converted) -> Self:
        """Return what was made for programs."""
        return cls(
            artifacts=tuple(map(ConvertedArtifact.of, done.artifacts)),
            skipped=names_of(done.skipped),
            replaced=names_of(done.replaced),
            warnings=done.warnings,
        )
