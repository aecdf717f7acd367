"""Installing for llama.cpp's server: one GGUF at the top level of its models folder.

Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
(``--models-dir``)
"""

import os
import re
import shlex
from datetime import datetime
from pathlib import Path

from modelvault import fsio
from modelvault.core.artifact import Artifact
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import BadOption, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets.gguf_artifact import find_gguf, read_gguf
from modelvault.targets.placing import (
    Owner,
    Placer,
    clear_leftovers,
    locked,
    target_errors,
    unpublished_name,
)
from modelvault.targets.receipt import Receipt
from modelvault.targets.removing import remove_installed
from modelvault.targets.runtime import InstallPlan, PlannedFile, Removal

TARGET = "llamacpp"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,198}[A-Za-z0-9_])?")


class LlamaCppRuntime:
    """A folder of GGUF files; a ``Runtime``."""

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
        if folder is None:
            raise BadOption("llama.cpp has no usual models folder", hint="name one with --dir DIR")
        entry = find_gguf(artifact, manifest, runtime="llama.cpp")
        read_gguf(artifact, entry, store, runtime="llama.cpp")
        model = _derive_name(artifact) if name is None else name.removesuffix(".gguf")
        if not _NAME.fullmatch(model):
            raise BadOption(
                f"{model!r} cannot name a GGUF file",
                hint="use letters, digits, '_', '-' and '.', with --as NAME",
            )
        location = Path(os.path.realpath(folder))
        path = location / f"{model}.gguf"
        plan = InstallPlan(
            target=TARGET,
            location=location,
            name=model,
            artifact=artifact.digest,
            files=(PlannedFile.blob(path.name, entry),),
            notes=(shlex.join(["llama-server", "-m", str(path), "--offline"]),),
            replace=replace,
            when=when,
            store=store,
        )
        with target_errors(location):
            if os.path.lexists(path) and path.lstat().st_size != entry.size:
                _refuse_conflict(plan, path)
        return plan

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; see ``Runtime.apply``."""
        root, (file,) = plan.location, plan.files
        placer = Placer(store=plan.store, owner=Owner.of(root), progress=progress or Silence())
        with target_errors(root), plan.store.writing():
            folders = placer.make_folders(root, "")
            with locked(root):
                clear_leftovers(root)
                target = fsio.safe_join(root, file.path)
                found = placer.find(file, target)
                if found is None:
                    _refuse_conflict(plan, target)
                    placer.require_space(plan.files, root)
                    staged = root / unpublished_name(plan.artifact)
                    found = placer.place(file, staged)
                    with fsio.storage_errors(target):
                        os.replace(staged, target)
                    fsio.sync_folder(root)
        return Receipt(
            target=TARGET,
            location=str(root),
            name=plan.name,
            artifact=plan.artifact,
            files=(found,),
            folders=tuple(folders),
            installed=plan.when,
            notes=plan.notes,
        )

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did; see ``Runtime.undo``."""
        root = Path(receipt.location)
        if not os.path.isdir(root):
            return Removal(removed=(), kept=())
        with target_errors(root), locked(root):
            return remove_installed(receipt, needed=lambda _: False)


def _refuse_conflict(plan: InstallPlan, path: Path) -> None:
    """Refuse to overwrite a file that is not the model, unless that is asked for.

    Raises:
        TargetConflict: As said.
    """
    if os.path.lexists(path) and (not plan.replace or not fsio.is_regular(path)):
        raise TargetConflict(
            f"{path}: another file stands here",
            hint="choose another name with --as, or remove the file",
        )


def _derive_name(artifact: Artifact) -> str:
    label = artifact.variant or artifact.quantization
    return f"{artifact.model.name}-{label}" if label else artifact.model.name
