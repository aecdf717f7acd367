"""What ``pull --from-file`` prints: what came of a list, or would."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from modelvault.app.conversion.assess import Convertible
from modelvault.app.mirror_list import Mirrored
from modelvault.app.mirror_plan import ListPlan, PlannedEntry
from modelvault.app.outcomes import Failure
from modelvault.cli.documents.document import Document
from modelvault.cli.documents.pull import ConversionTargets, FailedPull, LeftOutFile, left_out_of
from modelvault.core.digest import Digest
from modelvault.core.names import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPull(Document):
    """One line of a list that was pulled, or was here."""

    reference: Reference
    requested: str
    """Branch, tag or commit that the list names."""
    state: Literal["in_vault", "pulled"]
    artifact: Digest | None
    """Null where everything was in the vault already."""
    file_count: int
    size: int
    fetched: int
    """Bytes that the vault lacked."""
    left_out: tuple[LeftOutFile, ...]
    """What was not pulled; empty where everything was in the vault already."""

    @classmethod
    def of(cls, item: Mirrored) -> Self:
        """Return one entry for programs."""
        pulled = item.pulled
        return cls(
            reference=Reference(model=item.entry.model, revision=item.pin.commit),
            requested=item.entry.requested,
            state="in_vault" if pulled is None else "pulled",
            artifact=None if pulled is None else pulled.artifact.digest,
            file_count=len(item.pin.manifest.files),
            size=item.pin.manifest.size,
            fetched=0 if pulled is None else pulled.plan.to_fetch,
            left_out=() if pulled is None else left_out_of(pulled.plan),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedList(Document):
    """What came of ``--from-file``."""

    entries: tuple[ListedPull | FailedPull, ...]
    lock: Path | None
    """The lock file that pins it; null where one was followed."""

    @classmethod
    def of(
        cls, done: Iterable[Mirrored], failures: Iterable[Failure], *, lock: Path | None
    ) -> Self:
        """Return what was pulled or was here, and what failed, for programs."""
        return cls(entries=(*map(ListedPull.of, done), *map(FailedPull.of, failures)), lock=lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLine(Document):
    """What one line of a list would bring."""

    reference: Reference
    """With the revision that the line stands for now; without one where nothing is known."""
    requested: str
    """Branch, tag or commit that the list names."""
    state: Literal["in_vault", "planned"]
    file_count: int
    size: int
    to_fetch: int
    """Bytes that the vault lacks."""
    left_out: tuple[LeftOutFile, ...]
    conversions: tuple[ConversionTargets, ...]
    """Empty for what is no model to convert, and for what is in the vault."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, item: PlannedEntry, convertible: Iterable[Convertible]) -> Self:
        """Return one line for programs."""
        entry, plan = item.entry, item.plan
        pinned = entry.pin.manifest if entry.pin is not None else None
        revision = plan.offer.revision if plan else entry.pin.commit if entry.pin else None
        return cls(
            reference=Reference(model=entry.model, revision=revision),
            requested=entry.requested,
            state="in_vault" if plan is None else "planned",
            file_count=len(plan.files) if plan else len(pinned.files) if pinned else 0,
            size=plan.size if plan else pinned.size if pinned else 0,
            to_fetch=plan.to_fetch if plan else 0,
            left_out=left_out_of(plan) if plan else (),
            conversions=tuple(map(ConversionTargets.of, convertible)),
            warnings=plan.warnings if plan else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedList(Document):
    """What a list would bring: ``--from-file --dry-run``."""

    entries: tuple[PlannedLine | FailedPull, ...]
    size: int
    """Bytes of all files that are not in the vault and pinned; those of several lines once."""
    to_fetch: int
    """Bytes that the vault lacks; those of several lines once."""
    free: int
    """Bytes free on the vault's file system."""

    @classmethod
    def of(cls, plan: ListPlan, convertible: Mapping[str, Sequence[Convertible]]) -> Self:
        """Return a plan for programs.

        Args:
            plan: The plan.
            convertible: Entry's subject → what converters say of it.
        """
        planned = tuple(
            PlannedLine.of(item, convertible.get(item.entry.subject, ())) for item in plan.entries
        )
        return cls(
            entries=(*planned, *map(FailedPull.of, plan.failures)),
            size=plan.size,
            to_fetch=plan.to_fetch,
            free=plan.free,
        )
