"""What the files of a pull make up: the artefact, its format, and the model an adapter is for."""

from collections.abc import Mapping

from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.model_files import ADAPTER_CONFIG, WeightFormat, is_adapter, weight_format
from modelvault.core.repository import is_dataset
from modelvault.sources.card import ADAPTER_LIMIT, read_adapter
from modelvault.sources.source import Offer
from modelvault.store.blobs import Store

_FORMATS = (
    ("safetensors", WeightFormat.SAFETENSORS),
    ("gguf", WeightFormat.GGUF),
    ("pytorch", WeightFormat.PICKLE),
)
_OF_ADAPTERS = (WeightFormat.SAFETENSORS, WeightFormat.PICKLE)


def describe(
    offer: Offer, manifest: Manifest, adapter: Mapping[str, str] | None = None
) -> Artifact:
    """Return the artefact that an offer's selected files make up.

    Args:
        offer: Where they come from.
        manifest: The files.
        adapter: Card fields that an adapter's own configuration adds.
    """
    return Artifact(
        model=offer.model,
        revision=offer.revision or folder_revision(manifest.digest),
        variant=None,
        format="dataset" if is_dataset(offer.model) else _format(manifest),
        quantization=None,
        manifest=manifest.digest,
        license=offer.license,
        card={**(adapter or {}), **offer.card},
        origin=offer.origin,
    )


def folder_revision(manifest: Digest) -> str:
    """Return the revision of a model without a commit: the start of its manifest's digest."""
    return manifest.hex[:40]


def adapter_fields(store: Store, manifest: Manifest, notes: list[str]) -> Mapping[str, str]:
    """Return what an adapter's configuration says of the model it belongs to.

    Args:
        store: Holds the files.
        manifest: Those of the artefact; nothing is said of one that is no adapter.
        notes: Gets a sentence where the configuration cannot be read.
    """
    entry = manifest.find(ADAPTER_CONFIG)
    if entry is None or not _is_adapter(manifest):
        return {}
    with store.open_blob(entry.digest) as file:
        data = file.read(ADAPTER_LIMIT + 1)
    try:
        return read_adapter(data)
    except ValueError as error:
        notes.append(f"{ADAPTER_CONFIG}: {error}; the base model is not recorded")
        return {}


def _format(manifest: Manifest) -> str:
    if _is_adapter(manifest):
        return "adapter"
    found = {weight_format(entry.path) for entry in manifest.files}
    for name, format_ in _FORMATS:
        if format_ in found:
            return name
    return "other"


def _is_adapter(manifest: Manifest) -> bool:
    """Return whether the only weights at the top are an adapter's, such as LoRA's."""
    weights = [
        entry.path
        for entry in manifest.files
        if "/" not in entry.path and weight_format(entry.path) in _OF_ADAPTERS
    ]
    return (
        manifest.find(ADAPTER_CONFIG) is not None
        and any(map(is_adapter, weights))
        and not any(path.startswith(("model", "pytorch_model")) for path in weights)
    )
