"""A runtime of our own: a cache of blobs, with symbolic links to them under readable names.

It stands for every layout that uses links, and proves them in the contract suite::

    NAME/blobs/<sha256>            the bytes
    NAME/files/<path>              a link to them
    NAME/complete                  the artefact's digest; the server looks for this file
"""

import os
import posixpath
from datetime import datetime
from pathlib import Path

from modelvault.core.artifact import Artifact
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.ports import Progress
from modelvault.errors import BadOption, UnsuitableArtifact
from modelvault.store.blobs import Store
from modelvault.targets.receipt import Receipt
from modelvault.targets.removing import undo_install
from modelvault.targets.runtime import InstallPlan, PlannedFile, Removal
from modelvault.targets.swap import check_entry, install_entry


class LinkingRuntime:
    """Keeps whole safetensors models, their files as links; a ``Runtime``."""

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
        """Return what an install would do; see ``Runtime.plan``."""
        if manifest.find("config.json") is None:
            raise UnsuitableArtifact(
                f"{artifact.label} has no config.json",
                hint=f"modelvault pull {artifact.model}",
            )
        name = artifact.model.name if name is None else name
        if not name.replace("-", "a").isalnum() or name.startswith("-") or folder is None:
            raise BadOption(f"{name!r} in {folder} is no model's folder")
        links = [(f"{name}/files/{file.path}", file) for file in manifest.files]
        plan = InstallPlan(
            target="linking",
            location=Path(os.path.realpath(folder)),
            name=name,
            artifact=artifact.digest,
            files=(
                *dict.fromkeys(PlannedFile.blob(_blob(name, file), file) for _, file in links),
                *(
                    PlannedFile.link_to(path, posixpath.relpath(_blob(name, file), path + "/.."))
                    for path, file in links
                ),
                PlannedFile.of(f"{name}/complete", str(artifact.digest).encode()),
            ),
            notes=(f"serve {name}",),
            replace=replace,
            when=when,
            store=store,
        )
        check_entry(plan, name)
        return plan

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; see ``Runtime.apply``."""
        return install_entry(plan, plan.name, progress=progress)

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did; see ``Runtime.undo``."""
        return undo_install(receipt)


def _blob(name: str, file: FileEntry) -> str:
    return f"{name}/blobs/{file.digest.hex}"
