"""In-memory doubles of the ports; each passes the contract suite of the real ones."""

import dataclasses
from collections.abc import Mapping, Sequence

from modelvault.core.artifact import FolderOrigin, License
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.ports import Progress
from modelvault.errors import DigestMismatch, NotFound, SourceError, UpstreamChanged
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.source import Offer, report_stored
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
        return Offer(
            model=self._model,
            revision=self._revision,
            files=tuple(
                OfferedFile(path=path, size=len(data), checksum=Digest.of(data))
                for path, data in sorted(self.files.items())
            ),
            license=self._license,
            card={},
            origin=FolderOrigin(label="fake"),
        )

    def deliver(
        self, offer: Offer, plan: DeliveryPlan, store: Store, progress: Progress
    ) -> Mapping[str, Digest]:
        """Put the missing files into the store."""
        if offer.model != self._model:
            raise SourceError(f"{offer.model} was offered by another source")
        report_stored(plan, progress)
        for file in plan.missing:
            self._bring_in(file, store, progress)
        brought = {file.path: Digest.of((self.files or {})[file.path]) for file in plan.missing}
        return {**plan.stored, **brought}

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


class UnsizedSource(FakeSource):
    """A fake whose listing leaves out the sizes: each file is asked for its own."""

    def __init__(self, model: ModelName, files: Mapping[str, bytes] | None) -> None:
        """Hold these files; None for a source that is not there."""
        super().__init__(model, files)
        self.asked: list[str] = []
        """Paths of the files whose size was asked for."""

    def offer(self) -> Offer:
        """Return what there is, without sizes."""
        offer = super().offer()
        files = tuple(dataclasses.replace(file, size=None) for file in offer.files)
        return dataclasses.replace(offer, files=files)

    def settle_sizes(self, files: Sequence[OfferedFile]) -> tuple[OfferedFile, ...]:
        """Return the files with their sizes."""
        self.asked += [file.path for file in files]
        sizes = {path: len(data) for path, data in (self.files or {}).items()}
        return tuple(dataclasses.replace(file, size=sizes[file.path]) for file in files)
