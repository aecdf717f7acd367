"""What the workers are told: how to fetch, and the files that are not open yet."""

from dataclasses import dataclass

from modelvault.core.ports import Progress
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.net.connection import Connection
from modelvault.store.blobs import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a list of files is fetched."""

    store: Store
    connection: Connection
    progress: Progress
    segment: int
    """Bytes that one request asks for at most."""
    patience: float
    """Seconds to wait for another process that fetches the same file."""


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A file that is not open."""

    file: RemoteFile
    attempt: int = 1
    deadline: float
    not_before: float = 0.0
    told: bool = False
    """Whether the progress says that it is being waited for."""

    def show(self, progress: Progress, *, waits: bool) -> None:
        """Let the progress show, or no longer show, that another process is waited for."""
        if self.told != waits:
            self.told = waits
            name = f"{self.file.path}: waiting for another process"
            if waits:
                progress.begin(name, total=None)
            else:
                progress.end(name, note="it has ended")
