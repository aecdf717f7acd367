"""Installing for vLLM: a complete model folder that appears in one step.

The folder holds exactly what a server needs, and a ``model.sig`` over all of that. It is staged
beside its final name and renamed: a server never sees half of it, however the install ends.

Source: https://docs.vllm.ai/en/latest/usage (offline use), vLLM 0.32
"""

import os
import shlex
from datetime import datetime
from pathlib import Path

from modelvault.core.artifact import Artifact
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import check_path
from modelvault.core.offline import OFFLINE
from modelvault.core.ports import Progress
from modelvault.errors import BadOption, BadPath
from modelvault.store.blobs import Store
from modelvault.targets.receipt import Receipt
from modelvault.targets.removing import undo_install
from modelvault.targets.runtime import SIGNATURE_NAME, InstallPlan, PlannedFile, Removal
from modelvault.targets.servable import Servable, select_servable
from modelvault.targets.swap import check_entry, install_entry

TARGET = "vllm"
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
        servable = _servable(artifact, manifest, store)
        location = Path(os.path.realpath(folder))
        plan = InstallPlan(
            target=TARGET,
            location=location,
            name=model,
            artifact=artifact.digest,
            files=_files(model, servable),
            notes=_notes(location / model, model, servable),
            replace=replace,
            when=when,
            store=store,
            signature_path=f"{model}/{SIGNATURE_NAME}",
        )
        check_entry(plan, model)
        return plan

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; see ``Runtime.apply``."""
        return install_entry(plan, plan.name, progress=progress)

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did; see ``Runtime.undo``."""
        return undo_install(receipt)


def usual_contents(artifact: Artifact, manifest: Manifest, store: Store) -> Manifest:
    """Return the files that a model's folder will have.

    Raises:
        UnsuitableArtifact: The runtime cannot use the artefact.
        BlobMissing: The store lacks a file of the artefact.
    """
    return Manifest.of(_servable(artifact, manifest, store).files)


def _servable(artifact: Artifact, manifest: Manifest, store: Store) -> Servable:
    def read(entry: FileEntry, limit: int) -> bytes:
        return store.read(entry.digest, limit=limit)

    return select_servable(artifact, manifest, read)


def _files(model: str, servable: Servable) -> tuple[PlannedFile, ...]:
    """Return the files with the config last: without it no server takes the folder for a model."""
    files = sorted(servable.files, key=lambda file: file.path == "config.json")
    return tuple(PlannedFile.blob(f"{model}/{file.path}", file) for file in files)


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
