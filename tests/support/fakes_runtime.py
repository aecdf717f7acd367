"""A runtime in memory: the contract of ``Runtime`` without a file system."""

from datetime import datetime
from pathlib import Path

from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress
from modelvault.errors import BadOption, TargetChanged, TargetConflict, UnsuitableArtifact
from modelvault.store.blobs import Store
from modelvault.targets.receipt import InstalledFile, Placement, Receipt
from modelvault.targets.runtime import InstallPlan, PlannedFile, Removal


class FakeRuntime:
    """Keeps GGUF models in a dictionary: path → bytes."""

    def __init__(self) -> None:
        """Start empty."""
        self.files: dict[str, bytes] = {}

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
        """Return what an install would do."""
        entries = [entry for entry in manifest.files if entry.path.endswith(".gguf")]
        if len(entries) != 1:
            raise UnsuitableArtifact(f"{artifact.label} is no single GGUF")
        name = name or artifact.model.name
        if not name or "/" in name:
            raise BadOption(f"{name!r} is not a name")
        plan = InstallPlan(
            target="fake",
            location=folder or Path("/fake"),
            name=name,
            artifact=artifact.digest,
            files=(PlannedFile.blob(f"{name}.gguf", entries[0]),),
            notes=(),
            replace=replace,
            when=when,
            store=store,
        )
        self._refuse_conflict(plan)
        return plan

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out."""
        self._refuse_conflict(plan)
        files = []
        for file in plan.files:
            present = file.path in self.files
            self.files[file.path] = plan.store.read(file.digest, limit=file.size)
            files.append(
                InstalledFile(
                    path=file.path,
                    digest=file.digest,
                    size=file.size,
                    placement=Placement.PRESENT if present else Placement.COPY,
                    inode=0,
                )
            )
        return Receipt(
            target=plan.target,
            location=str(plan.location),
            name=plan.name,
            artifact=plan.artifact,
            files=tuple(files),
            folders=(),
            installed=plan.when,
        )

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did."""
        standing = [file for file in receipt.files if file.path in self.files]
        changed = [file for file in standing if Digest.of(self.files[file.path]) != file.digest]
        if changed:
            raise TargetChanged(f"{receipt.name} has changed")
        for file in standing:
            del self.files[file.path]
        return Removal(removed=tuple(file.path for file in standing), kept=())

    def _refuse_conflict(self, plan: InstallPlan) -> None:
        for file in plan.files:
            found = self.files.get(file.path)
            if found is not None and Digest.of(found) != file.digest and not plan.replace:
                raise TargetConflict(f"{plan.name} is another model")
