"""Writing a bundle: hash again, write, flush, sign last, publish by one rename.

Invariants (``docs/formats/bundle.md``, "The order of writing"):
    * Nothing is signed that was not hashed to its name on its way to the medium.
    * Until the folder is renamed, nothing on the medium reads as a bundle.
    * Memory is a few pieces, whatever the size of the models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.bundle.format import names
from modelvault.bundle.format.index import INDEX_LIMIT, Carrier, Index
from modelvault.bundle.format.layouts.volumes import VOLUMES, usual_volume_size
from modelvault.bundle.format.parsing import parse_index
from modelvault.bundle.medium.files import medium_errors
from modelvault.bundle.medium.mounts import file_system_of, read_mounts
from modelvault.bundle.write.compression import Choice, Compression, choose_codecs, estimate
from modelvault.bundle.write.packing import PIECE, TASK, write_volumes
from modelvault.bundle.write.publication import Publication
from modelvault.bundle.write.selection import Selection, select
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Signer, Silence
from modelvault.errors import BadOption, MalformedRecord, UnsupportedVersion
from modelvault.store.blobs import Store
from modelvault.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a bundle is written."""

    serial: int
    """The publisher's serial, higher than that of the bundle before."""
    created: str
    """RFC 3339 in UTC with whole seconds."""
    expires: str | None = None
    """As ``created``, and later; None for never."""
    volume_size: int | None = None
    """Most bytes of a volume; None for what the medium's file system asks for."""
    compression: Compression = Compression.AUTO
    assumed: frozenset[Digest] = frozenset()
    """Files that the destination holds and the bundle therefore leaves out."""
    replace: bool = False
    """Whether another bundle in the folder may be replaced."""
    model_signatures: bytes = b""
    """File of signatures over the models, for beside the index; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBundle:
    """What stands on the medium now."""

    folder: Path
    """The bundle's own folder."""
    layout: str
    """As the index spells it."""
    index_digest: Digest
    fingerprint: str
    """Of the publisher's key."""
    serial: int
    artifacts: int
    """How many it holds."""
    carriers: tuple[Carrier, ...]
    size: int
    """Raw bytes of all blobs."""
    stored_size: int
    """Bytes of all carriers."""
    assumed_size: int
    """Bytes of the files left out."""
    unchanged: bool
    """Whether a bundle of the same content stood there and nothing was written."""
    left: tuple[str, ...]
    """What else is left of a bundle that was replaced, files of others for instance; one
    sentence each."""


def _nothing(_: Index) -> None:
    pass


def write_bundle(
    artifacts: Sequence[Artifact],
    store: Store,
    folder: Path,
    *,
    signer: Signer,
    options: WriteOptions,
    progress: Progress | None = None,
    publishing: Callable[[Index], None] = _nothing,
) -> WrittenBundle:
    """Write a signed bundle of these artefacts below ``folder``; return what was written.

    Args:
        artifacts: What to carry; their manifests and files are in ``store``.
        store: Read only; each blob is hashed again on its way.
        folder: The medium's folder; the bundle becomes ``modelvault-bundle`` in it.
        signer: Signs the index.
        options: Serial, times, volume size, compression.
        progress: Told about raw bytes under the task ``export``.
        publishing: Called once the index is known, before anything on the medium reads as this
            bundle.

    Raises:
        NothingSelected: No artefacts.
        BlobMissing: The store lacks blobs.
        DigestMismatch: A blob has changed on disk; nothing was signed.
        SizeMismatch: A blob's length has changed on disk.
        BadOption: Another bundle, or something foreign, stands there; sizes do not work.
        VaultBusy: Another export is writing there.
        NoSpace: The bundle does not fit on the medium.
        StorageError: The medium refuses.
    """
    progress = progress or Silence()
    with medium_errors(folder):
        return _write(
            artifacts,
            store,
            folder,
            signer=signer,
            options=options,
            progress=progress,
            publishing=publishing,
        )


def _write(
    artifacts: Sequence[Artifact],
    store: Store,
    folder: Path,
    *,
    signer: Signer,
    options: WriteOptions,
    progress: Progress,
    publishing: Callable[[Index], None],
) -> WrittenBundle:
    selection = select(artifacts, store, assumed=options.assumed)
    fsio.make_folder(folder)
    publication = Publication(folder)
    with publication.lock():
        publication.recover()
        standing = publication.standing_index()
        if standing is not None and not options.replace:
            return _unchanged(publication, standing, selection, signer)
        volume_size = _volume_size(folder, options)
        progress.begin(TASK, total=selection.size)
        with publication.staging() as staged:
            choices = choose_codecs(selection, store, options.compression)
            fsio.require_space(folder, _estimate(selection, choices))
            blobs, carriers = write_volumes(
                selection,
                {digest: choice.encoding for digest, choice in choices.items()},
                store,
                staged,
                volume_size=volume_size,
                progress=progress,
            )
            index = Index(
                layout=VOLUMES,
                generator=f"modelvault {__version__}",
                serial=options.serial,
                created=options.created,
                expires=options.expires,
                artifacts=selection.entries,
                assumed=selection.assumed,
                blobs=blobs,
                carriers=carriers,
            )
            data = _encode(index)
            signature = signer.sign(names.INDEX, data)
            publishing(index)
            if options.model_signatures:
                fsio.write_durably(staged / names.MODEL_SIGNATURES, options.model_signatures)
            left = publication.publish(staged, data, signature=signature, signer=signer)
        progress.end(TASK)
    return _summary(publication.bundle, index, data, signer.fingerprint, unchanged=False, left=left)


def _summary(
    folder: Path,
    index: Index,
    data: bytes,
    fingerprint: str,
    *,
    unchanged: bool,
    left: tuple[str, ...] = (),
) -> WrittenBundle:
    return WrittenBundle(
        folder=folder,
        layout=index.layout.name,
        index_digest=Digest.of(data),
        fingerprint=fingerprint,
        serial=index.serial,
        artifacts=len(index.artifacts),
        carriers=index.carriers,
        size=index.size,
        stored_size=index.stored_size,
        assumed_size=sum(blob.size for blob in index.assumed),
        unchanged=unchanged,
        left=left,
    )


def _unchanged(
    publication: Publication, data: bytes, selection: Selection, signer: Signer
) -> WrittenBundle:
    """Return the bundle that stands there if it is the one asked for."""
    hint = "choose another folder, or ask for the bundle there to be replaced"
    try:
        index = parse_index(data)
    except (MalformedRecord, UnsupportedVersion) as error:
        raise BadOption(f"{publication.bundle}: holds something unreadable", hint=hint) from error
    same = (
        set(index.artifacts) == set(selection.entries)
        and index.assumed == selection.assumed
        and publication.published_by(signer)
        and not publication.faults(index)
    )
    if not same:
        raise BadOption(
            f"{publication.bundle}: another bundle stands here (serial {index.serial},"
            f" {len(index.artifacts)} artefacts)",
            hint=hint,
        )
    return _summary(publication.bundle, index, data, signer.fingerprint, unchanged=True)


def _volume_size(folder: Path, options: WriteOptions) -> int:
    if options.volume_size is not None:
        if options.volume_size < 1:
            raise BadOption(f"volumes of {options.volume_size} bytes are not possible")
        return options.volume_size
    return usual_volume_size(file_system_of(folder, read_mounts()))


def _encode(index: Index) -> bytes:
    """Return the index's bytes, after reading them as the other side will."""
    data = index.encode()
    if len(data) > INDEX_LIMIT:
        raise BadOption(
            f"the index would take {len(data)} bytes, {INDEX_LIMIT} are possible",
            hint="export fewer models at a time",
        )
    if parse_index(data) != index:
        raise MalformedRecord("the index does not read back as it was written")
    return data


def _estimate(selection: Selection, choices: Mapping[Digest, Choice]) -> int:
    """Return the bytes a bundle will about take; the index is a few hundred a piece."""
    pieces = len(selection.contents) + selection.size // PIECE
    return estimate(selection, choices) + 512 * pieces + 65536
