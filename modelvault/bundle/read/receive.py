"""Importing a bundle's blobs: stream, hash, store; files first, records last.

Bytes go straight into the store's partials, without reassembly space. Each piece is
compared with its signed digest before it is written, and made durable before the journal
vouches for it, so that an interrupted import reads nothing twice. A blob gets its name
when its whole digest is right. Nothing here touches the catalogue: after any failure the
vault holds at most blobs that nothing refers to, and partials; ``count_unused`` says how much.

Damage costs the artefacts that it is in. The others are taken.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from modelvault.bundle.format.index import BlobPieces
from modelvault.bundle.medium.faults import find_faults
from modelvault.bundle.medium.files import medium_errors
from modelvault.bundle.read.bundle import VerifiedBundle
from modelvault.bundle.read.cargo import Cargo, DamagedArtifact, read_cargo
from modelvault.bundle.read.damage import Losses
from modelvault.bundle.read.receiver import TASK, Receiver, partial_key
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.fields import UPDATE
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import BlobMissing, BundleDamaged, UnknownSigner, UnsupportedVersion
from modelvault.store.batch import BlobBatch
from modelvault.store.blobs import Store

COPY_AGAIN = "copy the files named here again from where the bundle was exported"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBundle:
    """What the store holds now; the caller's catalogue does not know it yet."""

    artifacts: tuple[tuple[Artifact, Manifest], ...]
    """Those that are whole."""
    new_bytes: int
    """Raw bytes that were read from the medium and stored."""
    skipped_bytes: int
    """Raw bytes that the vault, or an interrupted import, already held."""
    left_out: tuple[str, ...]
    """Artefacts that only a newer release reads, one sentence each; nothing of them is stored."""
    damaged: tuple[DamagedArtifact, ...]
    """Artefacts that are damaged on the medium."""
    faults: tuple[str, ...]
    """All that is wrong with the bundle's files, a sentence each that begins with the name."""


def _anything(_: Cargo) -> None:
    pass


def import_blobs(
    bundle: VerifiedBundle,
    store: Store,
    progress: Progress | None = None,
    *,
    accept: Callable[[Cargo], None] = _anything,
    whole: bool = True,
) -> ImportedBundle:
    """Bring every blob of the bundle into the store; return the artefacts to catalogue.

    The caller holds ``store.writing()`` from before this call until its catalogue has
    committed: until then the blobs are garbage to ``gc``.

    Args:
        bundle: Signed by a key that the policy trusts.
        store: Where blobs go.
        progress: Told about raw bytes under the task ``import``.
        accept: Told what will be taken before any of it is read; raises to refuse it.
        whole: Whether damage of some artefacts is an error, raised once the others are stored.
            Where every artefact is damaged, it always is.

    Raises:
        UnknownSigner: The bundle was only checked for integrity, against no trusted key.
        BundleDamaged: Carriers, pieces or a whole blob are not what was signed.
        MalformedRecord: Signed, but its parts contradict each other.
        UnsupportedVersion: Only a newer release reads any of its artefacts.
        BlobMissing: The vault lacks files that the bundle assumes it holds.
        NoSpace: The files do not fit; nothing was written.
        VaultBusy: Another process is bringing in one of the blobs.
        StorageError: The medium or the vault's disk refuses.
    """
    if not bundle.verdict.trusted:
        raise UnknownSigner(
            f"{bundle.folder}: verified against no trusted key",
            hint="trust the publisher's key first: modelvault trust add",
        )
    progress = progress or Silence()
    with medium_errors(bundle.folder):
        received = _import(bundle, store, progress, accept)
    if whole or not received.artifacts:
        _refuse_damage(bundle, received)
    return received


def count_unused(bundle: VerifiedBundle, store: Store, used: AbstractSet[Digest]) -> int:
    """Return the bytes on the vault's disk that a failed import has left.

    Args:
        bundle: What was imported.
        store: Where it went.
        used: Digests of everything that the catalogue refers to.

    Raises:
        StorageError: The file system refuses.
    """
    left = [blob for blob in bundle.index.blobs if blob.digest not in used]
    return sum(
        blob.size if store.has(blob.digest) else store.reserved(partial_key(blob.digest))
        for blob in left
    )


def _refuse_damage(bundle: VerifiedBundle, received: ImportedBundle) -> None:
    """Raise what is wrong with a bundle, if anything is.

    Raises:
        BundleDamaged: As said.
    """
    reasons = [reason for item in received.damaged for reason in item.reasons]
    issues = tuple(dict.fromkeys([*received.faults, *reasons]))
    if issues:
        more = f" and {len(issues) - 1} more faults" if len(issues) > 1 else ""
        raise BundleDamaged(
            f"{bundle.folder}: {issues[0]}{more}",
            hint=f"'modelvault bundle verify' names all damage; {COPY_AGAIN}",
            issues=issues,
        )


def _import(
    bundle: VerifiedBundle, store: Store, progress: Progress, accept: Callable[[Cargo], None]
) -> ImportedBundle:
    losses = Losses(bundle, find_faults(bundle.folders, bundle.index))
    everything = read_cargo(bundle, faults=losses.faults)
    if not everything.artifacts and not everything.damaged:
        raise UnsupportedVersion(
            f"{bundle.folder}: holds nothing that this release reads",
            hint=UPDATE,
            issues=everything.left_out,
        )
    losses.forecast(everything, store)
    cargo = everything.without(losses.artifacts.keys())
    accept(cargo)
    _require_assumed(bundle, cargo, store)
    wanted = [blob for blob in cargo.files if not store.has(blob.digest, blob.size)]
    store.require_space(
        (partial_key(blob.digest) if len(blob.pieces) > 1 else None, blob.size) for blob in wanted
    )
    new_bytes = _receive(cargo, wanted, store, progress, losses)
    cargo = cargo.without(losses.artifacts.keys())
    _store_records(cargo, store)
    return ImportedBundle(
        artifacts=cargo.artifacts,
        new_bytes=new_bytes,
        skipped_bytes=max(0, sum(blob.size for blob in cargo.files) - new_bytes),
        left_out=everything.left_out,
        damaged=(*everything.damaged, *losses.artifacts.values()),
        faults=tuple(fault.message for fault in losses.faults),
    )


def _receive(
    cargo: Cargo,
    wanted: list[BlobPieces],
    store: Store,
    progress: Progress,
    losses: Losses,
) -> int:
    """Read what is wanted; note the artefacts that turn out damaged. Return the bytes read."""
    total = sum(blob.size for blob in cargo.files)
    progress.begin(TASK, total=total, done=total - sum(blob.size for blob in wanted))
    with Receiver(losses.bundle, cargo.labels, store, progress) as receiver:
        receiver.receive(wanted)
    progress.end(TASK)
    for artifact, manifest in cargo.artifacts:
        found = [receiver.damage.get(file.digest, ()) for file in manifest.files]
        reasons = [reason for several in found for reason in several]
        if reasons:
            losses.note(artifact, reasons)
    return receiver.new_bytes


def _require_assumed(bundle: VerifiedBundle, cargo: Cargo, store: Store) -> None:
    missing = [
        f"blob {blob.digest} of {blob.size} bytes"
        for blob in cargo.assumed
        if not store.has(blob.digest, blob.size)
    ]
    if missing:
        raise BlobMissing(
            f"{bundle.folder}: {len(missing)} files that it builds on are not in this vault",
            hint="import the bundles before it first, or ask for a complete one",
            issues=missing,
        )


def _store_records(cargo: Cargo, store: Store) -> None:
    """Store manifests, then records; the whole of what they name is durable by now."""
    with store.batch() as batch:
        for _, manifest in cargo.artifacts:
            _put(store, batch, manifest.encode())
        batch.publish()
        for artifact, _ in cargo.artifacts:
            _put(store, batch, artifact.encode())


def _put(store: Store, batch: BlobBatch, data: bytes) -> None:
    digest = Digest.of(data)
    if not store.has(digest, len(data)):
        batch.put(data, digest)
