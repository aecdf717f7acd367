"""Installing into Ollama: its store is written directly, so that digests stay as signed.

Ollama's own import rewrites a GGUF and keeps a second copy. Here its blobs are hardlinks
or reflinks of the vault's wherever the file system allows.

A running server prunes blobs that no manifest names, at its start and when it removes
another model, and folders that a removal has emptied. Hence the order: stage in a sub-folder
of ``blobs/``, which pruning leaves alone; touch, because newer servers spare what is young;
rename all blobs in; publish the manifest last, into a folder that is made right before; then
look whether every blob is still there, and mend what is not, after a pause. The manifest's
unpublished form stands where no manifest is looked for.

Names: Ollama does not tell capital from small letters, in none of the four parts and across
all models of its store: the spelling that is there is taken (``ollama_store``).

Owner: a server sets the times of blobs that a new model is made from, which only their owner
may. In another user's store reflinks come first, because they can be given away.

Templates: no layer is added. Servers from 0.30 on use the GGUF's own chat template; a
guess would replace it. Older ones answer without one, which the notes say.

Source: https://github.com/ollama/ollama (``server/images.go``), v0.33.
"""

import dataclasses
import os
import shutil
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from modelvault import fsio
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress
from modelvault.errors import BadConfiguration, TargetChanged, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets import ollama_model, ollama_store
from modelvault.targets.files import FileInstaller, open_target
from modelvault.targets.folder import (
    STAGED_PREFIX,
    clear_leftovers,
    held,
    refuse_missing,
    target_errors,
)
from modelvault.targets.gguf_artifact import (
    check_projector,
    find_gguf_files,
    find_licenses,
    projector_notes,
    read_gguf,
    refuse_reranker,
)
from modelvault.targets.ollama_model import OllamaName
from modelvault.targets.ollama_notes import model_notes, owner_notes, place_notes
from modelvault.targets.receipt import InstalledFile, Receipt
from modelvault.targets.removing import remove_installed
from modelvault.targets.runtime import InstallPlan, PlannedFile, Removal

TARGET = "ollama"
SYSTEM_FOLDER = Path("/usr/share/ollama/.ollama/models")
"""Where the packaged service, running as user ``ollama``, keeps its models."""
PAUSES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds before each round in which blobs that a server pruned are brought again."""
_TRIES = 20
"""How often a folder that a server removes is made again at once."""


class OllamaRuntime:
    """Ollama's folder of models; a ``Runtime``."""

    def __init__(
        self, environ: Mapping[str, str] | None = None, *, system_folder: Path = SYSTEM_FOLDER
    ) -> None:
        """Take the environment that names the folder.

        Args:
            environ: ``OLLAMA_MODELS`` and ``HOME`` are read; None for the process's own.
            system_folder: Folder of the packaged service.
        """
        self._environ = os.environ if environ is None else environ
        self._system_folder = system_folder

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
        """Return what an install would do; see ``Runtime.plan``.

        Raises:
            BadConfiguration: ``OLLAMA_MODELS`` names a folder that is not there.
        """
        wanted = OllamaName.derive(artifact) if name is None else OllamaName.parse(name)
        files = find_gguf_files(artifact, manifest, runtime="Ollama")
        header = read_gguf(artifact, files.model, store, runtime="Ollama")
        refuse_reranker(artifact, header, runtime="Ollama")
        chosen, projector = [(ollama_model.MODEL_TYPE, files.model)], None
        if files.projector is not None:
            projector = check_projector(artifact, files.projector, store, runtime="Ollama")
            chosen.append((ollama_model.PROJECTOR_TYPE, files.projector))
        chosen += [(ollama_model.LICENSE_TYPE, text) for text in find_licenses(manifest)]
        layers = [
            (kind, PlannedFile.blob(ollama_model.blob_path(entry.digest), entry))
            for kind, entry in chosen
        ]
        content = ollama_model.encode_config(header, artifact.quantization, projector=projector)
        config = PlannedFile.of(ollama_model.blob_path(Digest.of(content)), content)
        location = self._choose_folder(folder)
        with target_errors(location):
            model = ollama_store.settle_name(location, wanted)
            new = not (location / "blobs").is_dir()
        visible = PlannedFile.of(model.path, ollama_model.encode_manifest(config, layers))
        blobs = dict.fromkeys([*(file for _, file in layers), config])
        plan = InstallPlan(
            target=TARGET,
            location=location,
            name=str(model),
            artifact=artifact.digest,
            files=(*blobs, visible),
            notes=(
                *model_notes(model, header),
                *projector_notes(files.left_out),
                *place_notes(location, model, wanted, new=new),
            ),
            replace=replace,
            when=when,
            store=store,
            owned=True,
        )
        with target_errors(location):
            _refuse_conflict(plan)
        return plan

    def folder(self, given: Path | None) -> Path:
        """Return the models folder: the given one, or where the server looks by default."""
        if given is not None:
            return Path(os.path.realpath(given))
        if configured := self._configured():
            return Path(os.path.realpath(configured))
        home = Path(self._environ.get("HOME") or "/root") / ".ollama" / "models"
        if not os.path.isdir(home) and os.path.isdir(self._system_folder):
            home = self._system_folder
        return Path(os.path.realpath(home))

    def _configured(self) -> str:
        """Return what ``OLLAMA_MODELS`` says, read as the server reads it."""
        return self._environ.get("OLLAMA_MODELS", "").strip().strip("\"'")

    def _choose_folder(self, given: Path | None) -> Path:
        """Return the models folder, if it is there or may be made.

        Raises:
            BadOption: The given one is neither.
            BadConfiguration: That of the environment is not.
        """
        folder = self.folder(given)
        home = Path(self._environ.get("HOME") or "/root")
        if given is not None:
            refuse_missing(folder)
        elif not folder.is_dir() and (self._configured() or not home.is_dir()):
            named = f"OLLAMA_MODELS names {folder}" if self._configured() else f"HOME names {home}"
            raise BadConfiguration(
                f"{named}, which is not there",
                hint="name the folder that the server uses, with --dir DIR; or make it first",
            )
        return folder

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; see ``Runtime.apply``.

        Raises:
            TargetChanged: The server removes the blobs as fast as they are brought.
        """
        root = plan.location
        visible = plan.files[-1].path
        with open_target(plan, progress) as installer:
            installer.make_folders("blobs")
            installer.make_folders("manifests")
            _refuse_conflict(plan)
            clear_leftovers(root / "blobs")
            clear_leftovers(root / "manifests")
            replaced = ollama_store.named_blobs(root, visible) if plan.replace else set()
            found = _install(plan, installer)
            _drop_unused(root, replaced)
            strange = owner_notes(root, found)
        # The model's own folder is listed even when an earlier run made it, so that a
        # repeated install can be undone as completely as a single one.
        receipt = plan.receipt(found, [*installer.made, visible.rpartition("/")[0]])
        return dataclasses.replace(receipt, notes=(*receipt.notes, *strange))

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did; see ``Runtime.undo``.

        A blob that another manifest names is kept; so are all blobs while some manifest
        cannot be read, since it may name any of them.
        """
        root = Path(receipt.location)
        if not os.path.isdir(root):
            return Removal(removed=(), kept=())
        own = {file.path for file in receipt.files if file.path.startswith("manifests/")}
        with held(root):
            references = ollama_store.needed_blobs(root, besides=own)

            def needed(path: str) -> bool:
                if path in own:
                    return False
                return references is None or path in references

            return remove_installed(receipt, needed=needed)


def _refuse_conflict(plan: InstallPlan) -> None:
    """Refuse a name that another model has, or that Ollama would look for elsewhere.

    Raises:
        TargetConflict: Another model has it.
        TargetChanged: A model appeared that spells a part of it otherwise.
    """
    visible = plan.files[-1]
    name = OllamaName.parse(plan.name)
    if ollama_store.settle_name(plan.location, name) != name:
        raise TargetChanged(
            f"{plan.location}: a model appeared that spells a part of {plan.name} otherwise",
            hint="run this again",
        )
    path = plan.location / visible.path
    hint = f"choose another name with --as, or remove it with 'ollama rm {plan.name}'"
    message = f"Ollama has another model called {plan.name} in {plan.location}"
    if ollama_store.is_shadowed(plan.location, name):
        raise TargetConflict(message, hint=hint)
    if plan.replace or not os.path.lexists(path):
        return
    if (
        not fsio.is_regular(path)
        or path.stat().st_size != visible.size
        or path.read_bytes() != visible.content
    ):
        raise TargetConflict(message, hint=hint)


def _install(plan: InstallPlan, installer: FileInstaller) -> tuple[InstalledFile, ...]:
    standing: dict[str, InstalledFile] = {}
    for file in plan.files:
        if found := installer.find(file):
            standing[file.path] = found
    *blobs, visible = plan.files
    for pause in PAUSES:
        time.sleep(pause)
        try:
            missing = [file for file in blobs if not _stands(plan, file, standing)]
            standing |= _publish_blobs(plan, installer, missing)
            if missing or not _stands(plan, visible, standing):
                _touch(plan, blobs)
            if not _stands(plan, visible, standing):
                standing[visible.path] = _publish_manifest(plan, installer, visible)
        except FileNotFoundError:
            continue  # the server removed an empty folder or a blob meanwhile
        if all(_stands(plan, file, standing) for file in plan.files):
            return tuple(standing[file.path] for file in plan.files)
    raise TargetChanged(
        f"{plan.location}: something removes the blobs of {plan.name} again and again",
        hint="stop the Ollama server, or set OLLAMA_NOPRUNE=1 for it, then run this again",
    )


def _stands(plan: InstallPlan, file: PlannedFile, standing: dict[str, InstalledFile]) -> bool:
    path = plan.location / file.path
    return file.path in standing and fsio.is_regular(path) and path.lstat().st_size == file.size


def _publish_blobs(
    plan: InstallPlan, installer: FileInstaller, missing: list[PlannedFile]
) -> dict[str, InstalledFile]:
    if not missing:
        return {}
    installer.require_space(missing, plan.location)
    blobs = plan.location / "blobs"
    stage = blobs / f"{STAGED_PREFIX}{plan.artifact.short}"
    with fsio.storage_errors(stage):
        stage.mkdir(exist_ok=True)
    installed = {}
    for file in missing:
        staged = stage / Path(file.path).name
        staged.unlink(missing_ok=True)  # from a round that was cut short
        installed[file.path] = installer.install(file, staged)
        _touch_file(staged)
    fsio.sync_folder(stage)
    for file in missing:
        with fsio.storage_errors(blobs):
            os.replace(stage / Path(file.path).name, plan.location / file.path)
    fsio.sync_folder(blobs)
    shutil.rmtree(stage)
    return installed


def _publish_manifest(
    plan: InstallPlan, installer: FileInstaller, file: PlannedFile
) -> InstalledFile:
    # At depth 1: a stray file at depth 4 would be taken for a damaged manifest.
    staged = plan.location / "manifests" / f"{STAGED_PREFIX}{plan.artifact.short}"
    staged.unlink(missing_ok=True)
    installed = installer.install(file, staged)
    for _ in range(_TRIES):  # a server that removes models removes the folders they leave empty
        installer.make_folders(file.path.rpartition("/")[0])
        path = fsio.safe_join(plan.location, file.path)
        try:
            with fsio.storage_errors(path):
                os.replace(staged, path)
        except FileNotFoundError:
            continue
        fsio.sync_folder(path.parent)
        return installed
    raise FileNotFoundError(staged)


def _touch(plan: InstallPlan, blobs: list[PlannedFile]) -> None:
    for file in blobs:
        _touch_file(plan.location / file.path)


def _touch_file(path: Path) -> None:
    """Make a blob look new to the server, which spares new ones when it prunes."""
    try:
        os.utime(path, follow_symlinks=False)
    except PermissionError:
        return  # another user's file: if it is pruned after all, the next round mends it


def _drop_unused(root: Path, blobs: set[str]) -> None:
    """Remove what a replaced model needed and no other does, as the server's pull does."""
    references = ollama_store.needed_blobs(root, besides=set()) if blobs else None
    if references is None:
        return
    for blob in sorted(blobs - references):
        path = fsio.safe_join(root, blob)
        with fsio.storage_errors(path):
            path.unlink(missing_ok=True)
    fsio.sync_folder(root / "blobs")
