"""What ``pull`` prints: a plan, one pull, or what came of several."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from modelvault.app.conversion.assess import Convertible
from modelvault.app.outcomes import Failure
from modelvault.app.pull import Pulled, PullPlan
from modelvault.app.upstream import Followed
from modelvault.cli.documents.artifacts import ArtifactName, names_of
from modelvault.cli.documents.document import Document
from modelvault.cli.lines.pull import seconds_left
from modelvault.core.artifact import HubOrigin
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName, Reference
from modelvault.sources.fetch.speed import Speed


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledFile(Document):
    """A file that is pulled."""

    path: str
    size: int | None
    """Null where the source does not say."""
    digest: Digest | None
    """As the source declares it; null where it declares none."""
    scan: str
    """What the Hub's scanner says of it."""
    in_vault: bool
    """Whether the vault had it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutFile(Document):
    """A file that is not pulled."""

    path: str
    size: int | None
    """Null where the source does not say."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedQuantization(Document):
    """One of several quantisations of a model."""

    label: str
    include: str
    """Pattern for ``--include`` that takes it alone."""
    files: tuple[str, ...]
    size: int | None
    """Bytes of all of them; null where the source does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionTargets(Document):
    """What one converter says of a model, by its configuration and its files' names."""

    converter: str
    """As ``--to`` names it."""
    targets: tuple[str, ...]
    """Types that it can make; empty where it refuses, or is not installed."""
    installed: bool
    """Whether its libraries are."""
    reason: str
    """Why it refuses; empty where it does not."""
    hint: str

    @classmethod
    def of(cls, item: Convertible) -> Self:
        """Return an answer for programs."""
        return cls(
            converter=item.converter,
            targets=item.targets,
            installed=item.installed,
            reason=item.reason,
            hint=item.hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPull(Document):
    """What a pull would do: ``--dry-run``."""

    model: ModelName
    revision: str | None
    """Commit; null for a folder, whose revision is named after its content."""
    license: str | None
    card: Mapping[str, str] = field(hash=False)
    """Facts of the model's card."""
    gated: bool
    private: bool
    scan: str
    """The Hub's verdict on the whole revision; empty where there is none."""
    files: tuple[PulledFile, ...]
    left_out: tuple[LeftOutFile, ...]
    quantizations: tuple[OfferedQuantization, ...]
    """Empty unless there are several."""
    conversions: tuple[ConversionTargets, ...]
    """Empty for what is no model to convert."""
    size: int
    """Bytes of all files."""
    in_vault_size: int
    """Bytes of those that the vault had before."""
    to_fetch: int
    """Bytes of the others."""
    free: int
    """Bytes free on the vault's file system."""
    rate: float | None
    """Bytes a second, measured by a sample; null where none was taken."""
    seconds: float | None
    """How long the missing bytes take at that rate."""
    warnings: tuple[str, ...]

    @classmethod
    def of(
        cls, plan: PullPlan, speed: Speed | None, convertible: Iterable[Convertible] = ()
    ) -> Self:
        """Return a plan for programs."""
        return cls(**_plan_fields(plan, speed, convertible))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedPull(PlannedPull):
    """What one pull did, with its plan."""

    reference: Reference
    artifact: Digest
    manifest: Digest
    new: bool
    """Whether the vault did not know the artefact before."""
    replaced: tuple[ArtifactName, ...]
    """Smaller selections of the same revision whose place it took."""

    @classmethod
    def of_pull(cls, done: Pulled, convertible: Iterable[Convertible] = ()) -> Self:
        """Return a pull for programs."""
        return cls(
            **_plan_fields(done.plan, None, convertible),
            reference=done.artifact.reference,
            artifact=done.artifact.digest,
            manifest=done.artifact.manifest,
            new=done.new,
            replaced=names_of(done.replaced),
        )


def left_out_of(plan: PullPlan) -> tuple[LeftOutFile, ...]:
    """Return what a plan leaves out, for programs."""
    return tuple(
        LeftOutFile(path=item.path, size=item.size, reason=item.reason)
        for item in plan.selection.left_out
    )


def _plan_fields(
    plan: PullPlan, speed: Speed | None, convertible: Iterable[Convertible]
) -> dict[str, Any]:
    offer = plan.offer
    hub = offer.origin if isinstance(offer.origin, HubOrigin) else None
    return {
        "model": offer.model,
        "revision": offer.revision,
        "license": offer.license.id if offer.license else None,
        "card": offer.card,
        "gated": hub.gated if hub else False,
        "private": hub.private if hub else False,
        "scan": offer.scan,
        "files": tuple(
            PulledFile(
                path=file.path,
                size=file.size,
                digest=file.sha256,
                scan=file.scan,
                in_vault=file.path in plan.stored,
            )
            for file in plan.selection.chosen
        ),
        "left_out": left_out_of(plan),
        "quantizations": tuple(
            OfferedQuantization(
                label=group.label, include=group.include, files=tuple(group.files), size=group.size
            )
            for group in plan.quantizations
        ),
        "conversions": tuple(map(ConversionTargets.of, convertible)),
        "size": plan.size,
        "in_vault_size": plan.stored_size,
        "to_fetch": plan.to_fetch,
        "free": plan.free,
        "rate": None if speed is None else speed.rate,
        "seconds": None if speed is None else seconds_left(plan, speed),
        "warnings": plan.warnings,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPull(Document):
    """One of several pulls that did not end well."""

    reference: str
    """As the list, or the vault, names it."""
    state: Literal["failed"] = "failed"
    where: str | None
    """Line of the list; null where there is none."""
    error: str
    """Class, as docs/errors.md lists it."""
    message: str

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """Return a failure for programs."""
        return cls(
            reference=failure.subject,
            where=failure.where or None,
            error=type(failure.error).__name__,
            message=failure.error.message,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedBranch(Document):
    """One branch that was followed."""

    reference: Reference
    """What the vault holds of it now."""
    previous: Reference
    """What it held before; the same where the branch did not move."""
    state: Literal["unchanged", "updated"]
    revision: str
    artifact: Digest
    fetched: int
    """Bytes that the vault lacked."""

    @classmethod
    def of(cls, item: Followed) -> Self:
        """Return one branch for programs."""
        same = item.before.revision == item.after.revision
        return cls(
            reference=item.after.reference,
            previous=item.before.reference,
            state="unchanged" if same else "updated",
            revision=item.after.revision,
            artifact=item.after.digest,
            fetched=item.fetched,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedUpdate(Document):
    """What came of ``--update``."""

    updates: tuple[FollowedBranch | FailedPull, ...]

    @classmethod
    def of(cls, done: Iterable[Followed], failures: Iterable[Failure]) -> Self:
        """Return what was followed, and what failed, for programs."""
        return cls(updates=(*map(FollowedBranch.of, done), *map(FailedPull.of, failures)))
