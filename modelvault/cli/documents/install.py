"""What ``install``, ``uninstall`` and ``status`` print."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from modelvault.app.install import Installed
from modelvault.app.status import StatusRow
from modelvault.catalog.values import Install
from modelvault.cli.documents.document import Document, parse_time
from modelvault.core.digest import Digest
from modelvault.core.names import Reference
from modelvault.targets.receipt import Receipt
from modelvault.targets.runtime import InstallPlan, Removal


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedInstallFile(Document):
    """One file that would be written."""

    path: str
    """Relative to the location."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedInstall(Document):
    """What an install would do: ``--dry-run``."""

    artifact: Digest
    target: str
    name: str
    """What the runtime will call the model."""
    location: str
    """Folder."""
    files: tuple[PlannedInstallFile, ...]
    """Without the signature."""
    signature: str | None
    """Path of the ``model.sig`` that would be beside it; null where the runtime has no folder."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, plan: InstallPlan) -> Self:
        """Return a plan for programs."""
        return cls(
            artifact=plan.artifact,
            target=plan.target,
            name=plan.name,
            location=str(plan.location),
            files=tuple(PlannedInstallFile(path=file.path, size=file.size) for file in plan.files),
            signature=plan.signature_path or None,
            notes=plan.notes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledFile(Document):
    """One file that stands in the runtime."""

    path: str
    """Relative to the location."""
    size: int
    placement: str
    """``hardlink``, ``reflink``, ``copy`` …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedInstall(Document):
    """What an install did."""

    reference: Reference
    artifact: Digest
    target: str
    name: str
    """What the runtime calls the model."""
    location: str
    """Folder."""
    files: tuple[InstalledFile, ...]
    notes: tuple[str, ...]
    new: bool
    """False where exactly this stood before; its files were checked and mended."""
    signature: str | None
    """Path of the ``model.sig`` beside it, relative to the location; null where it has none."""
    replaced: str | None
    """Reference of what this vault had installed under the name; null for nothing."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, done: Installed) -> Self:
        """Return an install for programs."""
        receipt = done.receipt
        return cls(
            reference=done.artifact.reference,
            artifact=done.artifact.digest,
            target=receipt.target,
            name=receipt.name,
            location=receipt.location,
            files=tuple(
                InstalledFile(path=file.path, size=file.size, placement=file.placement.value)
                for file in receipt.files
            ),
            notes=receipt.notes,
            new=done.new,
            signature=done.signature,
            replaced=done.replaced,
            warnings=done.warnings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedUninstall(Document):
    """What was taken back."""

    target: str
    name: str
    location: str
    """Folder."""
    removed: tuple[str, ...]
    """Paths, relative to the location."""
    kept: tuple[str, ...]
    """Paths that another model there needs."""
    forgotten: bool
    """Whether the install was forgotten and nothing there was touched: ``--forget``."""

    @classmethod
    def of(cls, receipt: Receipt, removal: Removal) -> Self:
        """Return an uninstall for programs."""
        return cls(
            target=receipt.target,
            name=receipt.name,
            location=receipt.location,
            removed=removal.removed,
            kept=removal.kept,
            forgotten=False,
        )

    @classmethod
    def forgotten_of(cls, install: Install) -> Self:
        """Return an install that was forgotten for programs."""
        return cls(
            target=install.target,
            name=install.name,
            location=install.location,
            removed=(),
            kept=(),
            forgotten=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingInstall(Document):
    """One install, and whether it still stands."""

    target: str
    name: str
    reference: str
    """Without its revision; the artefact's digest where the vault forgot it."""
    location: str
    """Folder."""
    installed_at: dt.datetime
    state: str
    """``in place``, ``in place by size``, how many files are missing or changed, or why that
    cannot be told."""

    @classmethod
    def of(cls, row: StatusRow) -> Self:
        """Return one install for programs."""
        return cls(
            target=row.target,
            name=row.name,
            reference=row.reference,
            location=row.location,
            installed_at=parse_time(row.since),
            state=row.state,
        )
