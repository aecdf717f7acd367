"""What the tests of engines share."""

import os
from typing import Any

from modelvault.core.ports import Silence
from modelvault.errors import BadOption
from modelvault.sources.fetch import choice
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.retry import Limits
from modelvault.store.blobs import Store
from tests.support.downloads import QUICK, content_of, downloader
from tests.support.needs import require

MIB = 1024 * 1024
PATH = "model.safetensors"
CONTENT = os.urandom(20 * MIB)
PATIENT = Limits(**{**QUICK, "stall_window": 60.0})
CONNECTION = Connection(connections=2, limits=PATIENT)


class Notes(Silence):
    """A ``Progress`` that keeps the notes."""

    def __init__(self) -> None:
        """Start with none."""
        self.notes: list[str] = []

    def end(self, task: str, *, note: str = "") -> None:
        """Keep the note."""
        if note:
            self.notes.append(note)


def fetch(store: Store, file: RemoteFile, engine: Any) -> tuple[bytes, list[str]]:
    """Fetch a file; return its bytes and what the progress was told."""
    notes = Notes()
    digest = downloader(store, engine=engine, segment=MIB, progress=notes).fetch(file)
    return content_of(store, digest), notes.notes


def need_hf_transfer() -> None:
    """Skip where the package is missing."""
    try:
        choice.check_engine("hf-transfer")
    except BadOption:
        require("hf_transfer")
