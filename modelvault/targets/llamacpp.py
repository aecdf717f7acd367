"""Installing for llama.cpp's server: one GGUF at the top level of its models folder.

A model with a projector is a folder of its own there, in which the projector's name begins with
``mmproj``: so the server's router finds both.

Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
(``--models-dir``)
"""

import os
import re
import shlex
from datetime import datetime
from pathlib import Path

from modelvault.core.artifact import Artifact
from modelvault.core.gguf import Header
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress
from modelvault.errors import BadOption
from modelvault.store.blobs import Store
from modelvault.targets.gguf_artifact import (
    GgufFiles,
    check_projector,
    find_gguf_files,
    is_embedder,
    is_reranker,
    projector_notes,
    read_gguf,
)
from modelvault.targets.receipt import Receipt
from modelvault.targets.removing import undo_install
from modelvault.targets.runtime import (
    SIGNATURE_NAME,
    InstallPlan,
    PlannedFile,
    Removal,
    contents_of,
)
from modelvault.targets.swap import check_entry, install_entry

TARGET = "llamacpp"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,198}[A-Za-z0-9_])?")
_PROJECTOR = "mmproj"
"""What a projector's name has to begin with."""


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
        found = find_gguf_files(artifact, manifest, runtime="llama.cpp")
        header = read_gguf(artifact, found.model, store, runtime="llama.cpp")
        if found.projector is not None:
            check_projector(artifact, found.projector, store, runtime="llama.cpp")
        model = _derive_name(artifact) if name is None else name.removesuffix(".gguf")
        if not _NAME.fullmatch(model):
            raise BadOption(
                f"{model!r} cannot name a GGUF file",
                hint="use letters, digits, '_', '-' and '.', with --as NAME",
            )
        location = Path(os.path.realpath(folder))
        files = _files(model, found)
        plan = InstallPlan(
            target=TARGET,
            location=location,
            name=model,
            artifact=artifact.digest,
            files=files,
            notes=(_command(location, files, header), *projector_notes(found.left_out)),
            replace=replace,
            when=when,
            store=store,
            signature_path=_signature_path(files),
        )
        check_entry(plan, _entry(plan))
        return plan

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; see ``Runtime.apply``."""
        return install_entry(plan, _entry(plan), progress=progress)

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did; see ``Runtime.undo``."""
        return undo_install(receipt)


def usual_contents(artifact: Artifact, manifest: Manifest) -> Manifest:
    """Return the files that a signature is about where the model has its usual name.

    Raises:
        UnsuitableArtifact: The runtime cannot use the artefact.
    """
    files = _files(_derive_name(artifact), find_gguf_files(artifact, manifest, runtime="llama.cpp"))
    return contents_of(files, _signature_path(files))


def _files(model: str, found: GgufFiles) -> tuple[PlannedFile, ...]:
    """Return the files, the model last: it is what makes the server show it."""
    if found.projector is None:
        return (PlannedFile.blob(f"{model}.gguf", found.model),)
    name = found.projector.path.rpartition("/")[2]
    if not name.startswith(_PROJECTOR):
        name = f"{_PROJECTOR}-{name}"
    return (
        PlannedFile.blob(f"{model}/{name}", found.projector),
        PlannedFile.blob(f"{model}/{model}.gguf", found.model),
    )


def _signature_path(files: tuple[PlannedFile, ...]) -> str:
    """Return where the signature goes: into the folder, or beside a file with its name."""
    folder, _, file = files[-1].path.rpartition("/")
    if folder:
        return f"{folder}/{SIGNATURE_NAME}"
    return f"{file.removesuffix('.gguf')}.{SIGNATURE_NAME}"


def _entry(plan: InstallPlan) -> str:
    """Return the file or folder that the model is."""
    return plan.files[-1].path.partition("/")[0]


def _command(location: Path, files: tuple[PlannedFile, ...], header: Header) -> str:
    *projectors, model = (str(location / file.path) for file in files)
    words = ["llama-server", "-m", model]
    for path in projectors:
        words += ["--mmproj", path]
    if is_reranker(header):
        words.append("--reranking")
    elif is_embedder(header):
        words.append("--embeddings")
    return shlex.join([*words, "--offline"])


def _derive_name(artifact: Artifact) -> str:
    label = artifact.variant or artifact.quantization
    return f"{artifact.model.name}-{label}" if label else artifact.model.name
