"""Installing for llama.cpp's server: one GGUF at the top level of its models folder.

Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
(``--models-dir``)
"""

import os
import re
import shlex
from datetime import datetime
from pathlib import Path

from modelvault.core.artifact import Artifact
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress
from modelvault.errors import BadOption
from modelvault.store.blobs import Store
from modelvault.targets.gguf_artifact import find_gguf, read_gguf
from modelvault.targets.receipt import Receipt
from modelvault.targets.removing import undo_install
from modelvault.targets.runtime import InstallPlan, PlannedFile, Removal
from modelvault.targets.swap import check_entry, install_entry

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
        file = PlannedFile.blob(f"{model}.gguf", entry)
        plan = InstallPlan(
            target=TARGET,
            location=location,
            name=model,
            artifact=artifact.digest,
            files=(file,),
            notes=(shlex.join(["llama-server", "-m", str(location / file.path), "--offline"]),),
            replace=replace,
            when=when,
            store=store,
        )
        check_entry(plan, file.path)
        return plan

    def apply(self, plan: InstallPlan, *, progress: Progress | None = None) -> Receipt:
        """Carry a plan out; see ``Runtime.apply``."""
        return install_entry(plan, plan.files[0].path, progress=progress)

    def undo(self, receipt: Receipt) -> Removal:
        """Take back what an install did; see ``Runtime.undo``."""
        return undo_install(receipt)


def _derive_name(artifact: Artifact) -> str:
    label = artifact.variant or artifact.quantization
    return f"{artifact.model.name}-{label}" if label else artifact.model.name
