"""What is to be written: records, manifests and files, each blob once, in medium order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelvault.bundle.format.index import Assumed, Entry
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import MANIFEST_LIMIT, Manifest
from modelvault.errors import BlobMissing, NothingSelected
from modelvault.store.blobs import Store

SMALL = 1024 * 1024
"""Files up to this many bytes go before the others, so that they are seen at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A blob to be written."""

    digest: Digest
    size: int
    """Length in bytes."""
    label: str
    """What people call it, such as ``org/name config.json``."""
    data: bytes | None = None
    """The bytes of records and manifests; None for files, which the store holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Everything a bundle is to hold."""

    entries: tuple[Entry, ...]
    contents: tuple[Content, ...]
    """In the order of the medium."""
    assumed: tuple[Assumed, ...]
    """Files left out, sorted."""

    @property
    def size(self) -> int:
        """Raw bytes of all contents."""
        return sum(content.size for content in self.contents)


def select(artifacts: Sequence[Artifact], store: Store, *, assumed: frozenset[Digest]) -> Selection:
    """Return what a bundle of these artefacts holds.

    Args:
        artifacts: What to carry; one given twice counts once.
        store: Where manifests and files are.
        assumed: Files the destination holds, which stay out.

    Raises:
        NothingSelected: No artefacts.
        BlobMissing: The store lacks blobs; ``issues`` names all of them.
    """
    if not artifacts:
        raise NothingSelected("no artefact to put into the bundle")
    unique = {artifact.digest: artifact for artifact in artifacts}
    records: dict[Digest, Content] = {}
    manifests: dict[Digest, Content] = {}
    files: dict[Digest, Content] = {}
    for record, artifact in unique.items():
        data = store.read(artifact.manifest, limit=MANIFEST_LIMIT)
        records[record] = _in_memory(record, artifact.encode(), f"record of {artifact.label}")
        manifests[artifact.manifest] = _in_memory(
            artifact.manifest, data, f"manifest of {artifact.label}"
        )
        for content in _files(artifact, Manifest.parse(data)):
            files.setdefault(content.digest, content)
    inside = {**records, **manifests}
    carried = [file for file in files.values() if file.digest not in assumed | inside.keys()]
    _require(store, carried)
    carried.sort(key=lambda file: file.size > SMALL)
    left_out = [
        Assumed(digest=file.digest, size=file.size)
        for file in files.values()
        if file.digest in assumed and file.digest not in inside
    ]
    return Selection(
        entries=tuple(
            Entry(record=record, manifest=artifact.manifest) for record, artifact in unique.items()
        ),
        contents=(*records.values(), *_without(manifests, records), *carried),
        assumed=tuple(sorted(left_out)),
    )


def _in_memory(digest: Digest, data: bytes, label: str) -> Content:
    return Content(digest=digest, size=len(data), label=label, data=data)


def _files(artifact: Artifact, manifest: Manifest) -> Iterator[Content]:
    for entry in manifest.files:
        yield Content(digest=entry.digest, size=entry.size, label=f"{artifact.label} {entry.path}")


def _without(contents: dict[Digest, Content], others: dict[Digest, Content]) -> list[Content]:
    return [content for digest, content in contents.items() if digest not in others]


def _require(store: Store, contents: Sequence[Content]) -> None:
    missing = [
        f"{content.label}: blob {content.digest}"
        for content in contents
        if not store.has(content.digest, content.size)
    ]
    if missing:
        raise BlobMissing(
            f"the store lacks {len(missing)} of the blobs to export",
            hint="pull the models again: only what is missing is fetched",
            issues=missing,
        )
