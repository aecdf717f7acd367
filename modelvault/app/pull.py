"""``pull``: bring a model into the vault, from the Hub or from a folder."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelvault import fsio
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact, HubOrigin
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import Reference
from modelvault.core.progress import Progress
from modelvault.errors import ArtifactNotFound
from modelvault.sources.selection import Selection, select
from modelvault.sources.source import Offer, OfferedFile, Source
from modelvault.store.blobs import Store
from modelvault.store.layout import Layout

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_FORMATS = (("safetensors", (".safetensors",)), ("gguf", (".gguf",)), ("pytorch", _PICKLES))


@dataclass(frozen=True, slots=True, kw_only=True)
class PullPlan:
    """What a pull would do."""

    offer: Offer
    selection: Selection
    size: int
    """Bytes of all selected files."""
    held: int
    """Bytes of them that the vault already holds."""
    free: int
    """Bytes free on the vault's file system."""
    warnings: tuple[str, ...]

    @property
    def to_fetch(self) -> int:
        """Bytes still to be fetched."""
        return self.size - self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull did."""

    plan: PullPlan
    artifact: Artifact
    new: bool
    """Whether the catalogue did not know the artefact before."""


def plan_pull(
    source: Source, layout: Layout, *, include: Sequence[str], exclude: Sequence[str]
) -> PullPlan:
    """Return what a pull would do; the vault need not exist yet.

    Raises:
        NotFound: No such repository, revision or folder, or nothing selected.
        FetchError: The source cannot be reached or refuses.
        BadPath: The repository holds paths that are unsafe.
    """
    offer = source.offer()
    selection = select(offer.files, include=include, exclude=exclude)
    store = Store(layout)
    held = sum(
        file.size
        for file in selection.chosen
        if file.sha256 is not None and store.has(file.sha256, file.size)
    )
    return PullPlan(
        offer=offer,
        selection=selection,
        size=sum(file.size for file in selection.chosen),
        held=held,
        free=fsio.free_bytes(layout.root),
        warnings=(*offer.notes, *selection.notes, *_warnings(selection.chosen)),
    )


def pull(vault: Vault, source: Source, plan: PullPlan, progress: Progress) -> Pulled:
    """Fetch what the plan selects and record it.

    Raises:
        FetchError: A file could not be fetched; what came is kept for the next run.
        Corruption: Bytes do not match what the source declares.
        StorageError: The disk is full or refuses.
    """
    store = vault.store
    with store.writing():
        digests = source.deliver(plan.selection.chosen, store, progress)
        manifest = Manifest.of(
            FileEntry(path=file.path, digest=digests[file.path], size=file.size)
            for file in plan.selection.chosen
        )
        artifact = _known(vault, manifest, describe(plan.offer, manifest))
        vault.keep(artifact, manifest)
        new = vault.catalog.add_artifact(artifact, manifest, event=_event(plan, artifact))
    return Pulled(plan=plan, artifact=artifact, new=new)


def _known(vault: Vault, manifest: Manifest, artifact: Artifact) -> Artifact:
    """Return the artefact this content is known as, from another endpoint or branch, say."""
    reference = Reference(model=artifact.model, revision=artifact.revision)
    try:
        known = vault.catalog.find(reference).artifact
    except ArtifactNotFound:
        return artifact
    return known if known.manifest == manifest.digest else artifact


def describe(offer: Offer, manifest: Manifest) -> Artifact:
    """Return the artefact that an offer's selected files make up."""
    return Artifact(
        model=offer.model,
        revision=offer.revision or folder_revision(manifest.digest),
        variant=None,
        format=_format(manifest),
        quantization=None,
        manifest=manifest.digest,
        license=offer.license,
        card=offer.card,
        origin=offer.origin,
    )


def folder_revision(manifest: Digest) -> str:
    """Return the revision of a model without a commit: the start of its manifest's digest."""
    return manifest.hex[:40]


def _format(manifest: Manifest) -> str:
    for name, suffixes in _FORMATS:
        if any(entry.path.endswith(suffixes) for entry in manifest.files):
            return name
    return "other"


def _warnings(files: Sequence[OfferedFile]) -> list[str]:
    flagged = [file.path for file in files if file.scan in ("unsafe", "suspicious")]
    pickles = [file.path for file in files if file.path.endswith(_PICKLES)]
    scripts = [file.path for file in files if file.path.endswith(".py")]
    warnings = [f"the Hub's scanner flags {path}" for path in flagged]
    if pickles:
        warnings.append(f"{len(pickles)} pickle files can execute code when loaded: {pickles[0]}")
    if scripts:
        warnings.append(f"{len(scripts)} Python files are carried, never executed: {scripts[0]}")
    return warnings


def _event(plan: PullPlan, artifact: Artifact) -> Event:
    origin = artifact.origin
    details = {
        "artifact": str(artifact.digest),
        "revision": artifact.revision,
        "files": str(len(plan.selection.chosen)),
        "bytes": str(plan.size),
        "left_out": str(len(plan.selection.left_out)),
    }
    if isinstance(origin, HubOrigin):
        details |= {"endpoint": origin.endpoint, "requested": origin.requested}
    return Event(verb="pull", subject=artifact.label, details=details)
