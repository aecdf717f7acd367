"""The port of every runtime that models are installed into, and what passes through it.

An install is planned first, without touching anything: the plan says which files will
stand where. Applying it brings them in, in an order that a crash cannot turn into half a
model, and returns the receipt; undoing takes exactly that back.

Applying a plan whose result stands already changes nothing and returns the same receipt,
so a crashed or repeated install is mended by running it again.

``docs/guides/add-a-runtime.md`` leads through writing one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.ports import Progress
from modelvault.errors import BadPath
from modelvault.store.blobs import Store
from modelvault.targets.links import resolve_link
from modelvault.targets.receipt import InstalledFile, Receipt

SIGNATURE_NAME = "model.sig"
"""Name that OpenSSF Model Signing gives a signature beside a model's files."""


class FileKind(StrEnum):
    """What a planned file is made of."""

    BLOB = "blob"
    """A blob of the store: hardlinked, reflinked or copied."""
    BYTES = "bytes"
    """A small file that the target asks for, written from memory."""
    LINK = "link"
    """A relative symbolic link to another file of the same plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file that will stand in the target; made by ``blob``, ``of`` or ``link_to``."""

    path: str
    """Relative to the plan's location, with ``/`` between its parts."""
    kind: FileKind
    digest: Digest
    """Of the file's bytes; of a link, that of its text."""
    size: int
    """Length in bytes; of a link, that of its text, as ``lstat`` has it."""
    content: bytes | None
    """What is written, or a link's text; None for a blob of the store."""

    @classmethod
    def blob(cls, path: str, entry: FileEntry) -> "PlannedFile":
        """Return a file that is taken from the store."""
        return cls(
            path=path, kind=FileKind.BLOB, digest=entry.digest, size=entry.size, content=None
        )

    @classmethod
    def of(cls, path: str, content: bytes) -> "PlannedFile":
        """Return a file that is written from memory."""
        return cls(
            path=path,
            kind=FileKind.BYTES,
            digest=Digest.of(content),
            size=len(content),
            content=content,
        )

    @classmethod
    def link_to(cls, path: str, link: str) -> "PlannedFile":
        """Return a symbolic link.

        Args:
            path: Where it stands.
            link: Its text, relative to the folder it stands in.

        Raises:
            BadPath: It is absolute, or leads out of the plan's location.
        """
        resolve_link(path, link)
        text = link.encode()
        return cls(
            path=path, kind=FileKind.LINK, digest=Digest.of(text), size=len(text), content=text
        )

    @property
    def link(self) -> str | None:
        """The text of a symbolic link; None for a file."""
        return (self.content or b"").decode() if self.kind is FileKind.LINK else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """Everything an install will do.

    Raises:
        BadPath: A link leads to something other than a file that the plan brings before it:
            it would hang in the air, or show what nobody checked.
    """

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
    owned: bool = False
    """Whether the runtime has to own its files, as far as that takes no second copy."""
    signature_path: str = ""
    """Where a signature over the model's files belongs, beside them; empty where a runtime has no
    folder that one could be checked on."""

    def __post_init__(self) -> None:
        """Check where the links lead."""
        before: set[str] = set()
        for file in self.files:
            if file.link is None:
                before.add(file.path)
            elif resolve_link(file.path, file.link) not in before:
                raise BadPath(f"'{file.path}' is a link to '{file.link}', which is not installed")

    @property
    def size(self) -> int:
        """Sum of the files' sizes, in bytes; hardlinks and reflinks take no space."""
        return sum(file.size for file in self.files)

    @property
    def contents(self) -> Manifest:
        """The model's files as they stand beside its signature, which is about these."""
        return contents_of(self.files, self.signature_path)

    def with_signature(self, content: bytes) -> "InstallPlan":
        """Return the plan with a signature among its files; what makes it visible stays last."""
        *files, visible = self.files
        signature = PlannedFile.of(self.signature_path, content)
        return replace(self, files=(*files, signature, visible))

    def receipt(self, files: Sequence[InstalledFile], folders: Sequence[str]) -> Receipt:
        """Return the receipt of this plan, carried out.

        Args:
            files: What stands there now, in the plan's order.
            folders: Folders that were made for the model, outermost first; a folder that
                is named twice counts where it is named first.
        """
        return Receipt(
            target=self.target,
            location=str(self.location),
            name=self.name,
            artifact=self.artifact,
            files=tuple(files),
            folders=tuple(dict.fromkeys(folders)),
            installed=self.when,
            notes=self.notes,
        )


def contents_of(files: Iterable[PlannedFile], signature_path: str) -> Manifest:
    """Return what a signature at a path is about: the other files, as they stand beside it."""
    folder = signature_path.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    return Manifest.of(
        FileEntry(path=file.path.removeprefix(prefix), digest=file.digest, size=file.size)
        for file in files
        if file.path != signature_path
    )


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
            folder: The runtime's folder; None for its usual one.
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

        Args:
            plan: What ``plan`` returned.
            progress: Told about copied and hashed bytes, under the files' names.

        Raises:
            TargetConflict: Something else stands under this name by now.
            TargetChanged: Another process changes the target at the same time.
            Corruption: A blob of the store is not what it should be.
            StorageError: The target's disk is full or refuses.
            VaultBusy: Another install into this folder, or gc, is at work.
        """

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did.

        Files that are gone already are no error; so undoing twice is harmless.

        Args:
            receipt: What ``apply`` returned.

        Raises:
            TargetChanged: A file is no longer what was installed; nothing was removed.
            StorageError: The file system refuses.
        """
