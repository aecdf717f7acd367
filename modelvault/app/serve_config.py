"""``serve-config``: the files by which a server serves an installed model."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.served_model import find_model, name_model, place_model
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.core.names import AnyReference
from modelvault.errors import TargetConflict
from modelvault.serving.choices import Form, Server
from modelvault.serving.configuration import ConfigurationFile, list_notes, write_configuration
from modelvault.serving.setup import Setup, settle
from modelvault.serving.wishes import Wishes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a model is served by."""

    artifact: Artifact
    setup: Setup
    files: tuple[ConfigurationFile, ...]
    """The most important one first."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """What became of one file."""

    path: str
    """Relative to the folder."""
    state: str
    """``written``, ``replaced`` or ``unchanged``."""


@timed(_log, "configuration of a server")
def configure(
    vault: Vault, reference: AnyReference, server: Server, form: Form, wishes: Wishes
) -> Configuration:
    """Return the files by which a server serves a model; nothing is written.

    Args:
        vault: Holds the artefact, and knows where it is installed.
        reference: What is served.
        server: The program that serves it.
        form: What is written.
        wishes: What the user asked for.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        InstallNotFound: It is not installed for this server, and no path is given.
        UnsuitableArtifact: The server does not read its format.
        BadOption: An option cannot be used.
        UnsupportedVersion: A newer release installed it.
        Corruption: Its receipt, manifest or configuration was altered.
    """
    artifact = vault.catalog.find(reference).artifact
    notes: list[str] = []
    if form is Form.NGINX:
        model = name_model(vault, artifact, server)
    elif wishes.path is not None:
        model = place_model(vault, artifact, server, wishes.path, wishes.name)
    else:
        model = find_model(vault, artifact, server, wishes.name, notes)
    setup = settle(server, form, model, wishes)
    files = write_configuration(setup)
    return Configuration(
        artifact=artifact, setup=setup, files=files, notes=(*notes, *list_notes(setup))
    )


def write_files(
    files: Sequence[ConfigurationFile], folder: Path, *, replace: bool
) -> tuple[WrittenFile, ...]:
    """Write files into a folder, durably; what stands there already is left as it is.

    Args:
        files: What to write.
        folder: Where; made if missing.
        replace: Whether files of the same name and another content are replaced.

    Raises:
        TargetConflict: Something else stands there; nothing was written.
        BadPath: A part of a path is a symbolic link.
        StorageError: The disk is full or refuses.
    """
    states = {file.path: _compare(fsio.safe_join(folder, file.path), file) for file in files}
    blocked = [path for path, state in states.items() if state == "blocked"]
    changed = [path for path, state in states.items() if state == "replaced"]
    if blocked or (changed and not replace):
        raise TargetConflict(
            f"{folder} holds other files of these names",
            hint="look at what differs, then add --replace, or name another folder with --out"
            if not blocked
            else "move away what is no regular file, or name another folder with --out",
            issues=[str(folder / path) for path in blocked or changed],
        )
    for file in files:
        if states[file.path] != "unchanged":
            path = fsio.safe_join(folder, file.path)
            fsio.make_folder(path.parent)
            fsio.write_durably(path, file.text.encode())
            _log.debug("%s: %s", path, states[file.path])
    return tuple(WrittenFile(path=path, state=state) for path, state in states.items())


def _compare(path: Path, file: ConfigurationFile) -> str:
    data = file.text.encode()
    with fsio.storage_errors(path):
        if not os.path.lexists(path):
            return "written"
        if not fsio.is_regular(path):
            return "blocked"
        same = path.stat().st_size == len(data) and path.read_bytes() == data
    return "unchanged" if same else "replaced"
