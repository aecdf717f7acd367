"""Installing for vLLM: a complete model folder that appears in one step.

The folder holds exactly what a server needs and nothing of ours, so that its
``model.sig`` verifies. It is staged beside its final name and renamed: a server never
sees half of it, however the install ends.

Source: https://docs.vllm.ai/en/latest/usage (offline use), vLLM 0.32
"""

import os
import shlex
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from modelvault import fsio
from modelvault.core.artifact import Artifact
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import check_path
from modelvault.core.ports import Progress, Silence
from modelvault.errors import BadOption, BadPath, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets.placing import (
    STAGED_PREFIX,
    Owner,
    Placer,
    clear_leftovers,
    locked,
    target_errors,
)
from modelvault.targets.receipt import InstalledFile, Receipt
from modelvault.targets.removing import remove_installed
from modelvault.targets.runtime import InstallPlan, PlannedFile, Removal
from modelvault.targets.servable import Servable, select_servable

TARGET = "vllm"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""Environment that keeps a server from calling out."""
DEEPEST_NAME = 4


class VllmRuntime:
    """A folder of model folders, ``DIR/ORG/NAME``; a ``Runtime``."""

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
            raise BadOption("vLLM has no usual models folder", hint="name one with --dir DIR")
        model = _check_name(_derive_name(artifact) if name is None else name)

        def read(entry: FileEntry, limit: int) -> bytes:
            return store.read(entry.digest, limit=limit)

        servable = select_servable(artifact, manifest, read)
        location = Path(os.path.realpath(folder))
        plan = InstallPlan(
            target=TARGET,
            location=location,
            name=model,
            artifact=artifact.digest,
            files=tuple(PlannedFile.blob(f"{model}/{file.path}", file) for file in servable.files),
            notes=_notes(location / model, model, servable),
            replace=replace,
            when=when,
            store=store,
        )
        with target_errors(location):
            _refuse_conflict(plan, besides=_sizes(plan))
        return plan

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; see ``Runtime.apply``."""
        root, target = plan.location, plan.location / plan.name
        placer = Placer(store=plan.store, owner=Owner.of(root), progress=progress or Silence())
        parent = plan.name.rpartition("/")[0]
        with target_errors(root), plan.store.writing():
            folders = placer.make_folders(root, parent)
            with locked(root):
                _recover(target)
                clear_leftovers(target.parent)
                found = _find_all(plan, placer)
                if found is None:
                    _refuse_conflict(plan, besides={})
                    found = _install(plan, placer)
        inner = sorted({path for file in plan.files for path in _folders_of(file.path, plan.name)})
        return Receipt(
            target=TARGET,
            location=str(root),
            name=plan.name,
            artifact=plan.artifact,
            files=found,
            folders=tuple(dict.fromkeys([*folders, *inner])),
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


def _install(plan: InstallPlan, placer: Placer) -> tuple[InstalledFile, ...]:
    target = plan.location / plan.name
    stage = target.with_name(f"{STAGED_PREFIX}new-{target.name}")
    placer.require_space(plan.files, target.parent)
    with fsio.storage_errors(stage):
        stage.mkdir()
        stage.chmod(0o755)
    if placer.owner is not None:
        placer.owner.take(stage)
    placed = []
    for file in plan.files:
        relative = file.path.removeprefix(f"{plan.name}/")
        placer.make_folders(stage, relative.rpartition("/")[0])
        placed.append(placer.place(file, fsio.safe_join(stage, relative)))
    for folder in [stage, *(path for path in stage.rglob("*") if path.is_dir())]:
        fsio.sync_folder(folder)
    old = _old(target)
    with fsio.storage_errors(target):
        if target.exists():  # allowed: the plan replaces, or the folder is empty
            os.rename(target, old)
        os.rename(stage, target)
    fsio.sync_folder(target.parent)
    if old.exists():
        with fsio.storage_errors(old):
            shutil.rmtree(old)
    return tuple(placed)


def _old(target: Path) -> Path:
    return target.with_name(f"{STAGED_PREFIX}old-{target.name}")


def _recover(target: Path) -> None:
    """Put a model back that a crash has left between the two renames of a replacement."""
    if _old(target).is_dir() and not target.exists():
        os.rename(_old(target), target)
        fsio.sync_folder(target.parent)


def _find_all(plan: InstallPlan, placer: Placer) -> tuple[InstalledFile, ...] | None:
    """Return the installed files when the folder holds exactly them; None otherwise."""
    if _standing(plan).keys() != _sizes(plan).keys():
        return None
    found = []
    for file in plan.files:
        item = placer.find(file, fsio.safe_join(plan.location, file.path))
        if item is None:
            return None
        found.append(item)
    return tuple(found)


def _refuse_conflict(plan: InstallPlan, *, besides: Mapping[str, int]) -> None:
    """Refuse a name under which something else stands.

    Args:
        plan: The install.
        besides: Files, with their sizes, that may stand there: while planning nothing is
            hashed, so what looks like the model itself passes.

    Raises:
        TargetConflict: As said.
    """
    target = plan.location / plan.name
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise TargetConflict(f"{target}: not a folder", hint="choose another name with --as")
    standing = _standing(plan)
    if standing and standing != besides and not plan.replace:
        raise TargetConflict(
            f"{target}: another model stands here",
            hint="choose another name with --as, or uninstall what is there first",
        )


def _sizes(plan: InstallPlan) -> dict[str, int]:
    return {file.path: file.size for file in plan.files}


def _standing(plan: InstallPlan) -> dict[str, int]:
    """Return what stands in the model's folder: path and size of everything but folders."""
    target = plan.location / plan.name
    if not target.is_dir() or target.is_symlink():
        return {}
    return {
        path.relative_to(plan.location).as_posix(): path.lstat().st_size
        for path in target.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


def _derive_name(artifact: Artifact) -> str:
    variant = f"-{artifact.variant}" if artifact.variant else ""
    return f"{artifact.model}{variant}"


def _check_name(name: str) -> str:
    try:
        check_path(name)
    except BadPath as error:
        raise BadOption(f"{name!r} cannot name a model folder: {error}") from error
    parts = name.split("/")
    if len(parts) > DEEPEST_NAME or any(part.startswith((".", "-")) for part in parts):
        raise BadOption(
            f"{name!r} cannot name a model folder",
            hint="write ORG/NAME or NAME; no part starts with '.' or '-'",
        )
    return name


def _folders_of(path: str, name: str) -> list[str]:
    """Return the folders of a file, from the model's own folder down."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(name.split("/")), len(parts))]


def _notes(target: Path, model: str, servable: Servable) -> tuple[str, ...]:
    environment = " ".join(f"{key}={value}" for key, value in OFFLINE.items())
    command = ["vllm", "serve", str(target), "--served-model-name", model]
    command += ["--tensor-parallel-size", "1"]
    if servable.context is not None:
        command += ["--max-model-len", str(servable.context)]
    notes = [f"{environment} {shlex.join(command)}"]
    if servable.quantization:
        notes.append(f"quantised with {servable.quantization}: the server detects it, no flag")
    if servable.left_out:
        notes.append(f"left out, not in the index: {', '.join(servable.left_out)}"[:4096])
    if servable.remote_code:
        notes.append(
            "the config asks for Python code of the model: it runs only with "
            "--trust-remote-code, which you should not give before reading it"
        )
    return tuple(notes)
