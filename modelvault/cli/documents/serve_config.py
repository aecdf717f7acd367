"""What ``serve-config`` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from modelvault.app.serve_config import Configuration, WrittenFile
from modelvault.cli.documents.document import Document
from modelvault.core.digest import Digest
from modelvault.core.names import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFile(Document):
    """One file of a configuration."""

    path: str
    """Relative to the folder."""
    content: str
    """Its text."""
    state: str
    """``printed``, or with ``--out`` ``written``, ``replaced`` or ``unchanged``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfiguration(Document):
    """What a model is served by."""

    reference: Reference
    artifact: Digest
    server: str
    """``vllm``, ``ollama``, ``llamacpp`` or ``sglang``."""
    form: str
    """``systemd``, ``compose``, ``kubernetes`` or ``nginx``."""
    name: str
    """What clients ask for; of nginx, the model's usual name."""
    slug: str
    """Name of the unit, service or site."""
    model_path: str | None
    """What the server loads; null for nginx, which needs no model."""
    folder: str | None
    """Where the files were written; null where they were printed."""
    files: tuple[ServingFile, ...]
    """The most important one first."""
    notes: tuple[str, ...]
    """What the user should know that no file says."""

    @classmethod
    def of(cls, made: Configuration, folder: Path | None, written: Sequence[WrittenFile]) -> Self:
        """Return a configuration for programs."""
        states = {file.path: file.state for file in written}
        setup = made.setup
        return cls(
            reference=made.artifact.reference,
            artifact=made.artifact.digest,
            server=setup.server.value,
            form=setup.form.value,
            name=setup.model.name,
            slug=setup.slug,
            model_path=None if setup.front else str(setup.model.path),
            folder=None if folder is None else str(folder),
            files=tuple(
                ServingFile(
                    path=file.path, content=file.text, state=states.get(file.path, "printed")
                )
                for file in made.files
            ),
            notes=made.notes,
        )
