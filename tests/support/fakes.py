"""In-memory doubles of the ports; each passes the contract suite of the real ones."""

from collections.abc import Mapping, Sequence

from modelvault.core.artifact import FolderOrigin, License
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.ports import Progress
from modelvault.errors import DigestMismatch, NotFound, UpstreamChanged
from modelvault.sources.source import Offer, OfferedFile, check_paths
from modelvault.store.blobs import Store


class FakeSource:
    """A ``Source`` over byte strings.

    ``files`` may be changed between offer and delivery, as anything in the world may.
    """

    def __init__(
        self,
        model: ModelName,
        files: Mapping[str, bytes] | None,
        *,
        revision: str = "",
        license_: License | None = None,
    ) -> None:
        """Hold these files; None for a source that is not there."""
        self.files = None if files is None else dict(files)
        self.delivered: list[str] = []
        """Paths whose bytes were brought in, in order; held blobs are not among them."""
        self._model = model
        self._revision = revision
        self._license = license_

    def offer(self) -> Offer:
        """Return what there is."""
        if self.files is None:
            raise NotFound(f"no model {self._model}")
        check_paths(list(self.files), where=str(self._model))
        return Offer(
            model=self._model,
            revision=self._revision,
            files=tuple(
                OfferedFile(path=path, size=len(data), sha256=Digest.of(data))
                for path, data in sorted(self.files.items())
            ),
            license=self._license,
            card={},
            origin=FolderOrigin(label="fake"),
        )

    def deliver(
        self, files: Sequence[OfferedFile], store: Store, progress: Progress
    ) -> Mapping[str, Digest]:
        """Put the files into the store."""
        digests: dict[str, Digest] = {}
        for file in files:
            if file.sha256 is None or not store.has(file.sha256, file.size):
                self._bring_in(file, store, progress)
            digests[file.path] = file.sha256 or store.put((self.files or {})[file.path])
        return digests

    def _bring_in(self, file: OfferedFile, store: Store, progress: Progress) -> None:
        data = (self.files or {}).get(file.path)
        if data is None:
            raise UpstreamChanged(f"{file.path}: no longer there")
        if file.sha256 not in (None, Digest.of(data)):
            raise DigestMismatch(f"{file.path}: not what was offered")
        progress.begin(file.path, total=file.size)
        store.put(data)
        progress.advance(file.path, len(data))
        progress.end(file.path)
        self.delivered.append(file.path)
