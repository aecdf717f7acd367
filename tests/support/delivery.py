"""What a source offers, brought into a store: as a pull does it, without a catalogue."""

from collections.abc import Sequence

from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Silence
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.fetch.stored import plan_delivery
from modelvault.sources.source import Offer, Source, Unsized
from modelvault.store.blobs import Store


def deliver(
    source: Source,
    store: Store,
    progress: Progress | None = None,
    *,
    offer: Offer | None = None,
    files: Sequence[OfferedFile] | None = None,
) -> dict[str, Digest]:
    """Deliver the files of an offer; all of them, of a new one, unless told otherwise."""
    offer = offer or source.offer()
    chosen = tuple(offer.files if files is None else files)
    if isinstance(source, Unsized):
        chosen = source.settle_sizes(chosen)
    plan = plan_delivery(chosen, store)
    return dict(source.deliver(offer, plan, store, progress or Silence()))
