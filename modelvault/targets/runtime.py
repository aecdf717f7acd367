"""The port of every runtime that models are installed into, and what passes through it.

An install is planned first, without touching anything: the plan says which files will
stand where. Applying it brings them in, in an order that a crash cannot turn into half a
model, and returns the receipt; undoing takes exactly that back.

Applying a plan whose result stands already changes nothing and returns the same receipt,
so a crashed or repeated install is mended by running it again.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.ports import Progress
from modelvault.store.blobs import Store
from modelvault.targets.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file that will stand in the target."""

    path: str
    """Relative to the plan's location, with ``/`` between its parts."""
    digest: Digest
    size: int
    """Length in bytes."""
    content: bytes | None = None
    """The bytes of a small file that the target asks for; None for a blob of the store."""

    @classmethod
    def of(cls, path: str, content: bytes) -> "PlannedFile":
        """Return a file that is written from memory."""
        return cls(path=path, digest=Digest.of(content), size=len(content), content=content)

    @classmethod
    def blob(cls, path: str, entry: FileEntry) -> "PlannedFile":
        """Return a file that is taken from the store."""
        return cls(path=path, digest=entry.digest, size=entry.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """Everything an install will do."""

    target: str
    """Name of the runtime, as ``--to`` spells it."""
    location: Path
    """Absolute folder that the files' paths are relative to."""
    name: str
    """What the model will be called there."""
    artifact: Digest
    files: tuple[PlannedFile, ...]
    """In the order in which they appear; what makes the model visible comes last."""
    notes: tuple[str, ...]
    """What the operator should know; repeated in the receipt."""
    replace: bool
    """Whether a different model of this name may be replaced."""
    when: datetime
    """Time of the install, for the receipt."""
    store: Store = field(repr=False, compare=False)

    @property
    def size(self) -> int:
        """Sum of the files' sizes, in bytes; hardlinks and reflinks take no space."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What undoing an install did."""

    removed: tuple[str, ...]
    """Paths of the files that were removed, relative to the receipt's location."""
    kept: tuple[str, ...]
    """Paths that another model there still needs."""


class Runtime(Protocol):
    """A runtime's folder or store; ``targets.registry.runtime`` returns the real ones."""

    def plan(
        self,
        artifact: Artifact,
        manifest: Manifest,
        store: Store,
        *,
        folder: Path | None,
        name: str | None,
        when: datetime,
        replace: bool = False,
    ) -> InstallPlan:
        """Return what an install would do, without touching the target.

        Args:
            artifact: What is installed.
            manifest: Its files.
            store: Where their bytes are.
            folder: The runtime's folder; None for its usual place.
            name: What to call the model there; None derives it from the reference.
            when: Time of the install, for the receipt.
            replace: Whether a different model of this name may be replaced.

        Raises:
            UnsuitableArtifact: The runtime cannot use the artefact.
            TargetConflict: Something else stands under this name.
            BadOption: The folder or name is not acceptable.
            BlobMissing: The store lacks a file of the artefact.
        """

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; return what was done.

        Raises:
            TargetConflict: Something else stands under this name by now.
            Corruption: A blob of the store is not what it should be.
            StorageError: The target's disk is full or refuses.
            VaultBusy: Another install into this folder, or gc, is at work.
        """

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did.

        Files that are gone already are no error; so undoing twice is harmless.

        Raises:
            TargetChanged: A file is no longer what was installed; nothing was removed.
            StorageError: The file system refuses.
        """
