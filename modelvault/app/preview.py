"""What can be known of a model before it is fetched, from a few of its small files."""

from collections.abc import Mapping, Sequence

from modelvault.core.model_files import WeightFormat, is_code, weight_format
from modelvault.core.repository import is_dataset
from modelvault.errors import Corruption
from modelvault.sources.completeness import check_whole, wanted_contents
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.selection import Selection
from modelvault.sources.source import LARGEST_SMALL, Offer, Readable, Source
from modelvault.store.blobs import Store


class Preview:
    """A look at what is about to be pulled; nothing is kept of it."""

    def __init__(
        self,
        source: Source,
        offer: Offer,
        selection: Selection,
        delivery: DeliveryPlan,
        store: Store,
    ) -> None:
        """Look at nothing yet.

        Args:
            source: Read from, where it can be.
            offer: What it offers.
            selection: What of it is chosen.
            delivery: What of that the store has.
            store: The vault's, which need not exist.
        """
        self._source = source
        self._offer = offer
        self._selection = selection
        self._delivery = delivery
        self._store = store

    def check_whole(self, include: Sequence[str]) -> tuple[str, ...]:
        """Return what the user should know of a selection that can work.

        Args:
            include: The user's patterns.

        Raises:
            IncompleteModel: It lacks parts of itself, or holds stand-ins for them.
        """
        chosen = self._selection.chosen
        return check_whole(
            chosen,
            self._selection.left_out,
            self.read(wanted_contents(chosen)),
            include=include,
            dataset=is_dataset(self._offer.model),
        )

    def read(self, files: Sequence[OfferedFile]) -> Mapping[str, bytes]:
        """Return path → content of small chosen files, as far as they can be had."""
        contents: dict[str, bytes] = {}
        missing: list[OfferedFile] = []
        for file in files:
            digest = self._delivery.stored.get(file.path)
            if file.known_size > LARGEST_SMALL:
                continue
            if digest is None:
                missing.append(file)
                continue
            try:
                contents[file.path] = self._store.read(digest, limit=LARGEST_SMALL)
            except Corruption:
                missing.append(file)  # it is set aside and fetched anew later
        if missing and isinstance(self._source, Readable):
            contents |= self._source.read_small(missing)
        return contents


def warn_of(files: Sequence[OfferedFile]) -> list[str]:
    """Return what the user should know of files that are about to be pulled, by their names."""
    flagged = [file.path for file in files if file.scan in ("unsafe", "suspicious")]
    pickles = [file.path for file in files if weight_format(file.path) is WeightFormat.PICKLE]
    scripts = [file.path for file in files if is_code(file.path)]
    warnings = [f"the Hub's scanner flags {path}" for path in flagged]
    if pickles:
        warnings.append(f"pickle files can execute code when loaded: {_first(pickles)}")
    if scripts:
        warnings.append(f"Python files are carried, never executed: {_first(scripts)}")
    return warnings


def _first(paths: Sequence[str]) -> str:
    return paths[0] + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
