"""Installing into Ollama: its store is written directly, so that digests stay as signed.

Ollama's own import rewrites a GGUF and keeps a second copy. Here its blobs are hardlinks
or reflinks of the vault's wherever the file system allows.

A running server prunes blobs that no manifest names, at its start and when it removes
another model. Hence the order: stage in a sub-folder of ``blobs/``, which pruning leaves
alone; touch, because newer servers spare what is young; rename all blobs in; publish the
manifest last; then look whether every blob is still there, and mend what is not. The
manifest's unpublished form stands where no manifest is looked for.

Templates: no layer is added. Servers from 0.30 on use the GGUF's own chat template; a
guess would replace it. Older ones answer without one, which the notes say.

Source: https://github.com/ollama/ollama (``server/images.go``), v0.33.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from modelvault import fsio
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress
from modelvault.errors import MalformedRecord, TargetChanged, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets import ollama_model
from modelvault.targets.files import FileInstaller, open_target
from modelvault.targets.folder import STAGED_PREFIX, clear_leftovers, held, target_errors
from modelvault.targets.gguf_artifact import find_gguf, find_licenses, read_gguf
from modelvault.targets.ollama_model import OllamaName
from modelvault.targets.receipt import InstalledFile, Receipt
from modelvault.targets.removing import remove_installed
from modelvault.targets.runtime import InstallPlan, PlannedFile, Removal

TARGET = "ollama"
SYSTEM_FOLDER = Path("/usr/share/ollama/.ollama/models")
"""Where the packaged service, running as user ``ollama``, keeps its models."""
ROUNDS = 5
"""How often blobs that a server pruned are brought again."""


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
        """Return what an install would do; see ``Runtime.plan``."""
        model = OllamaName.derive(artifact) if name is None else OllamaName.parse(name)
        entry = find_gguf(artifact, manifest, runtime="Ollama")
        header = read_gguf(artifact, entry, store, runtime="Ollama")
        weights = PlannedFile.blob(ollama_model.blob_path(entry.digest), entry)
        layers = [(ollama_model.MODEL_TYPE, weights)]
        for text in find_licenses(manifest):
            file = PlannedFile.blob(ollama_model.blob_path(text.digest), text)
            layers.append((ollama_model.LICENSE_TYPE, file))
        content = ollama_model.encode_config(header, artifact.quantization)
        config = PlannedFile.of(ollama_model.blob_path(Digest.of(content)), content)
        visible = PlannedFile.of(model.path, ollama_model.encode_manifest(config, layers))
        blobs = dict.fromkeys([*(file for _, file in layers), config])
        plan = InstallPlan(
            target=TARGET,
            location=self.folder(folder),
            name=str(model),
            artifact=artifact.digest,
            files=(*blobs, visible),
            notes=_notes(model, templated=bool(header.text("tokenizer.chat_template"))),
            replace=replace,
            when=when,
            store=store,
        )
        with target_errors(plan.location):
            _refuse_conflict(plan)
        return plan

    def folder(self, given: Path | None) -> Path:
        """Return the models folder: the given one, or where the server looks by default."""
        if given is not None:
            return Path(os.path.realpath(given))
        if configured := self._environ.get("OLLAMA_MODELS"):
            return Path(os.path.realpath(configured))
        home = Path(self._environ.get("HOME") or "/root") / ".ollama" / "models"
        if not os.path.isdir(home) and os.path.isdir(self._system_folder):
            home = self._system_folder
        return Path(os.path.realpath(home))

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
            replaced = _named_blobs(root, visible) if plan.replace else set()
            found = self._install(plan, installer)
            _drop_unused(root, replaced)
        # The model's own folder is listed even when an earlier run made it, so that a
        # repeated install can be undone as completely as a single one.
        return plan.receipt(found, [*installer.made, visible.rpartition("/")[0]])

    def _install(self, plan: InstallPlan, installer: FileInstaller) -> tuple[InstalledFile, ...]:
        standing: dict[str, InstalledFile] = {}
        for file in plan.files:
            if found := installer.find(file):
                standing[file.path] = found
        *blobs, visible = plan.files
        for _ in range(ROUNDS):
            missing = [file for file in blobs if not _stands(plan, file, standing)]
            shown = _stands(plan, visible, standing)
            if not missing and shown:
                return tuple(standing[file.path] for file in plan.files)
            try:
                standing |= _publish_blobs(plan, installer, missing)
                _touch(plan, blobs)
                if not shown:
                    installer.make_folders(visible.path.rpartition("/")[0])
                    standing[visible.path] = _publish_manifest(plan, installer, visible)
            except FileNotFoundError:
                continue  # the server removed an empty folder or a blob meanwhile
        raise TargetChanged(
            f"{plan.location}: something removes the blobs of {plan.name} again and again",
            hint="stop the Ollama server, or set OLLAMA_NOPRUNE=1 for it, then run this again",
        )

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
            references = _references(root, besides=own)

            def needed(path: str) -> bool:
                if path in own:
                    return False
                return references is None or path in references

            return remove_installed(receipt, needed=needed)


def _refuse_conflict(plan: InstallPlan) -> None:
    """Refuse a name that another model has, or has in another case.

    Raises:
        TargetConflict: As said.
    """
    visible = plan.files[-1]
    path = plan.location
    for part in visible.path.split("/"):
        others = [name for name in _names(path) if name.casefold() == part.casefold()]
        if others and part not in others:
            raise TargetConflict(
                f"{plan.name} differs from '{path / others[0]}' only in capital letters, "
                "which Ollama does not tell apart",
                hint="choose another name with --as",
            )
        path = path / part
    if not path.exists() or plan.replace:
        return
    if (
        not fsio.is_regular(path)
        or path.stat().st_size != visible.size
        or (path.read_bytes() != visible.content)
    ):
        raise TargetConflict(
            f"Ollama has another model called {plan.name} in {plan.location}",
            hint=f"choose another name with --as, or remove it with 'ollama rm {plan.name}'",
        )


def _names(folder: Path) -> list[str]:
    with fsio.storage_errors(folder):
        return sorted(os.listdir(folder)) if folder.is_dir() else []


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
    fsio.publish(staged, fsio.safe_join(plan.location, file.path), mode=0o644)
    return installed


def _touch(plan: InstallPlan, blobs: list[PlannedFile]) -> None:
    for file in blobs:
        _touch_file(plan.location / file.path)


def _touch_file(path: Path) -> None:
    """Make a blob look new to the server, which spares new ones when it prunes."""
    try:
        os.utime(path, follow_symlinks=False)
    except PermissionError:
        return  # another user's file: if it is pruned after all, the next round mends it


def _named_blobs(root: Path, manifest: str) -> set[str]:
    """Return the paths of the blobs that a manifest names; none where it is unreadable."""
    path = fsio.safe_join(root, manifest)
    if not fsio.is_regular(path) or path.stat().st_size > ollama_model.MANIFEST_LIMIT:
        return set()
    with contextlib.suppress(MalformedRecord):
        digests = ollama_model.parse_references(path.read_bytes())
        return {ollama_model.blob_path(digest) for digest in digests}
    return set()


def _drop_unused(root: Path, blobs: set[str]) -> None:
    """Remove what a replaced model needed and no other does, as the server's pull does."""
    references = _references(root, besides=set()) if blobs else None
    if references is None:
        return
    for blob in sorted(blobs - references):
        path = fsio.safe_join(root, blob)
        with fsio.storage_errors(path):
            path.unlink(missing_ok=True)
    fsio.sync_folder(root / "blobs")


def _references(root: Path, *, besides: set[str]) -> set[str] | None:
    """Return the blob paths that manifests name; None when one of them is unreadable."""
    found: set[str] = set()
    for path in sorted((root / "manifests").glob("*/*/*/*")):
        # Hidden files cannot be tags; the server does not read them either.
        if path.name.startswith(".") or path.relative_to(root).as_posix() in besides:
            continue
        try:
            if not fsio.is_regular(path) or path.stat().st_size > ollama_model.MANIFEST_LIMIT:
                return None
            with fsio.storage_errors(path):
                digests = ollama_model.parse_references(path.read_bytes())
        except MalformedRecord:
            return None
        found |= {ollama_model.blob_path(digest) for digest in digests}
    return found


def _notes(model: OllamaName, *, templated: bool) -> tuple[str, ...]:
    notes = [f"ollama run {model}", "a running server sees the model at once"]
    if templated:
        notes.append("chat needs Ollama 0.30 or newer, which uses the model's own template")
    else:
        notes.append("the GGUF carries no chat template: prompts are passed as they are")
    return tuple(notes)
