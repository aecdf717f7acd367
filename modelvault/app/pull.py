"""``pull``: bring a model into the vault, from the Hub or from a folder."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelvault import fsio
from modelvault.app.conflicts import refuse_moved_revision
from modelvault.app.describe import adapter_fields, describe
from modelvault.app.filters import PART, Filters
from modelvault.app.left_out import remember_left_out
from modelvault.app.preview import Preview, warn_of
from modelvault.app.refusals import logs_refusals
from modelvault.app.supersede import contains, drop_records, find_siblings, supersede
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact, Followable, License
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import Reference
from modelvault.core.ports import Progress
from modelvault.core.repository import is_dataset
from modelvault.errors import BadOption, UpstreamChanged
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.fetch.speed import Speed
from modelvault.sources.fetch.stored import DeliveryPlan, check_again, plan_delivery
from modelvault.sources.quantizations import Quantization, group_quantizations, patterns_of_type
from modelvault.sources.selection import Selection, select
from modelvault.sources.source import Measurable, Narrowed, Offer, Source, Unsized
from modelvault.store.blobs import Store
from modelvault.store.paths import VaultPaths

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullPlan:
    """What a pull would do."""

    source: Source
    """What made the offer, and delivers it."""
    offer: Offer
    filters: Filters
    selection: Selection
    delivery: DeliveryPlan
    """The selected files, and what of them the vault holds already."""
    free: int
    """Bytes free on the vault's file system."""
    warnings: tuple[str, ...]
    preview: Preview
    """Reads small files before anything is fetched."""

    @property
    def files(self) -> tuple[OfferedFile, ...]:
        """The selected files, sorted by path."""
        return self.selection.chosen

    @property
    def license(self) -> License | None:
        """What the model card declares; None where it declares nothing."""
        return self.offer.license

    @property
    def size(self) -> int:
        """Bytes of all selected files."""
        return self.delivery.size

    @property
    def stored(self) -> Mapping[str, Digest]:
        """Path → digest of the selected files that the vault already holds."""
        return self.delivery.stored

    @property
    def stored_size(self) -> int:
        """Bytes that the vault already holds."""
        return self.delivery.stored_size

    @property
    def to_fetch(self) -> int:
        """Bytes still to be fetched."""
        return self.size - self.stored_size

    @property
    def quantizations(self) -> tuple[Quantization, ...]:
        """The quantisations that are offered, where there are several."""
        groups = group_quantizations(self.offer.files)
        return groups if len(groups) > 1 else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull did."""

    plan: PullPlan
    artifact: Artifact
    manifest: Manifest
    """Of ``artifact``, which may hold more files than were asked for."""
    new: bool
    """Whether the catalogue did not know the artefact before."""
    replaced: tuple[Artifact, ...]
    """Smaller selections of the same revision whose place it took."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""


@timed(_log, "plan of a pull")
def plan_pull(
    source: Source, paths: VaultPaths, *, include: Sequence[str], exclude: Sequence[str]
) -> PullPlan:
    """Return what a pull would do; the vault need not exist yet.

    Raises:
        BadOption: A pattern is empty, there are too many, or the source was named with files.
        NotFound: No such repository, revision or folder, or nothing selected.
        FetchError: The source cannot be reached or refuses.
        BadPath: Chosen files have names that are unsafe.
        IncompleteModel: What is chosen lacks parts of itself, or holds stand-ins for them.
    """
    wanted = _wanted(source, include)
    offer = source.offer()
    if isinstance(source, Narrowed) and source.type:
        wanted = patterns_of_type(source.type, offer.files, str(offer.model))
    filters = Filters(include=wanted, exclude=tuple(exclude))
    selection = select(
        offer.files,
        include=filters.include,
        exclude=filters.exclude,
        dataset=is_dataset(offer.model),
    )
    return plan_selection(source, offer, selection, paths, filters, check=True)


def _wanted(source: Source, include: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns that were given, or those of the files that the source was named with.

    Raises:
        BadOption: There are both.
    """
    if not isinstance(source, Narrowed) or not (source.include or source.type):
        return tuple(include)
    if include:
        named = source.type or ", ".join(source.include)
        raise BadOption(f"--include does not go with a name that says {named} already")
    return source.include


def plan_selection(
    source: Source,
    offer: Offer,
    selection: Selection,
    paths: VaultPaths,
    filters: Filters,
    *,
    check: bool = False,
) -> PullPlan:
    """Return the plan of a pull whose files are chosen already.

    Args:
        source: What made the offer; asked for sizes that the offer does not know.
        offer: Where the files come from.
        selection: Which of them.
        paths: Of the vault, which need not exist yet.
        filters: What chose them, for the record.
        check: Whether what cannot work is refused.

    Raises:
        IncompleteModel: What is chosen lacks parts of itself, or holds stand-ins for them.
        SourceError: The size of a chosen file is not known.
        StorageError: A blob cannot be read.
    """
    if isinstance(source, Unsized):
        chosen = source.settle_sizes(selection.chosen)
        selection = dataclasses.replace(selection, chosen=chosen)
    delivery = plan_delivery(selection.chosen, Store(paths))
    preview = Preview(source, offer, selection, delivery, Store(paths))
    gaps = preview.check_whole(filters.include) if check else ()
    plan = PullPlan(
        source=source,
        offer=offer,
        filters=filters,
        selection=selection,
        delivery=delivery,
        free=fsio.free_bytes(paths.blobs),
        warnings=(*offer.notes, *selection.notes, *gaps, *warn_of(selection.chosen)),
        preview=preview,
    )
    _log.info(
        "%s@%s: %d files chosen, %d left out; of %d bytes %d are stored",
        offer.model,
        offer.revision,
        len(selection.chosen),
        len(selection.left_out),
        plan.size,
        plan.stored_size,
    )
    return plan


def measure(plan: PullPlan) -> Speed | None:
    """Return how fast the source's bytes come; None where nothing is missing, or on disk.

    A few megabytes of the largest missing file are fetched by one connection and dropped.

    Raises:
        FetchError: The source cannot be reached or refuses.
    """
    missing = plan.delivery.missing
    if not missing or not isinstance(plan.source, Measurable):
        return None
    return plan.source.measure(missing)


def _about(plan: PullPlan, *_: object, **__: object) -> str:
    return str(Reference(model=plan.offer.model, revision=plan.offer.revision or None))


@timed(_log, "pull")
@logs_refusals("pull", about=_about)
def pull(
    vault: Vault,
    plan: PullPlan,
    progress: Progress,
    *,
    expected: Manifest | None = None,
) -> Pulled:
    """Fetch what the plan selects and record it.

    A smaller selection of the same revision gives way to it; where the vault holds a larger
    one, that stays and is returned.

    Args:
        vault: Where it goes.
        plan: What to fetch.
        progress: Told about each file.
        expected: What the files have to be; None where no lock file pins that.

    Raises:
        UpstreamChanged: The bytes are not what was expected; nothing is recorded.
        RevisionConflict: The vault holds other bytes under this revision; nothing is recorded.
        FetchError: A file could not be fetched; what came is kept for the next run.
        Corruption: Bytes do not match what the source declares.
        CatalogDamaged: The catalogue is gone, or another vault's; nothing is fetched.
        StorageError: The disk or the catalogue's database is full or refuses.
    """
    vault.open_catalog()  # what is wrong with it is said before anything is fetched
    store = vault.store
    declared = {file.path: file.sha256 for file in plan.files if file.sha256 is not None}
    _refuse_moved(vault, plan, declared)
    with store.writing():
        delivery = check_again(plan.delivery, store)
        digests = plan.source.deliver(plan.offer, delivery, store, progress)
        manifest = Manifest.of(
            FileEntry(path=file.path, digest=digests[file.path], size=file.known_size)
            for file in delivery.files
        )
        if expected is not None and manifest != expected:
            raise UpstreamChanged(f"{plan.offer.model}: other bytes than the lock file pins")
        _refuse_moved(vault, plan, digests)
        done = record(vault, plan, manifest)
    drop_records(vault, done.replaced)
    _log.info(
        "%s: artefact %s is %s, in place of %d",
        done.artifact.reference,
        done.artifact.digest,
        "new" if done.new else "known",
        len(done.replaced),
    )
    return done


def _refuse_moved(vault: Vault, plan: PullPlan, files: Mapping[str, Digest]) -> None:
    """Refuse other bytes under a revision that is known; a folder's revision is its content."""
    if not plan.offer.revision:
        return
    reference = Reference(model=plan.offer.model, revision=plan.offer.revision)
    origin = plan.offer.origin
    place = origin.endpoint if isinstance(origin, Followable) else "the source"
    refuse_moved_revision(vault, reference, files, place)


def record(vault: Vault, plan: PullPlan, manifest: Manifest) -> Pulled:
    """Catalogue the files that a plan selected, which are in the store.

    The caller keeps ``gc`` away.

    Args:
        vault: The vault.
        plan: What was pulled.
        manifest: The files, all of them in the store.
    """
    notes: list[str] = []
    described = describe(plan.offer, manifest, adapter_fields(vault.store, manifest, notes))
    artifact, manifest = _known(vault, described, manifest, notes)
    vault.keep(artifact, manifest)
    new = vault.catalog.add_artifact(
        artifact,
        manifest,
        event=_event(plan, artifact, part=len(manifest.files) > len(plan.files)),
        requested=plan.offer.requested or None,
    )
    gone = supersede(vault, artifact, manifest)
    return Pulled(
        plan=plan,
        artifact=artifact,
        manifest=manifest,
        new=new,
        replaced=gone.removed,
        notes=(*notes, *gone.notes),
    )


def _known(
    vault: Vault, artifact: Artifact, manifest: Manifest, notes: list[str]
) -> tuple[Artifact, Manifest]:
    """Return the artefact that this content is known as, or is a part of."""
    for sibling in reversed(find_siblings(vault, artifact.reference, known=manifest)):
        if contains(sibling.manifest, manifest):
            if sibling.manifest != manifest:
                more = len(sibling.manifest.files) - len(manifest.files)
                notes.append(f"the vault's artefact of this revision holds {more} more files")
            return sibling.artifact, sibling.manifest
    return artifact, manifest


def _event(plan: PullPlan, artifact: Artifact, *, part: bool) -> Event:
    details = {
        "artifact": str(artifact.digest),
        "revision": artifact.revision,
        "files": str(len(plan.files)),
        "bytes": str(plan.size),
        "left_out": str(len(plan.selection.left_out)),
        **remember_left_out(plan.selection.left_out),
        **plan.filters.details(),
        **({PART: "yes"} if part else {}),
    }
    origin = plan.offer.origin
    if isinstance(origin, Followable):
        details |= {"endpoint": origin.endpoint, "requested": origin.requested}
    return Event(verb="pull", subject=artifact.label, details=details)
