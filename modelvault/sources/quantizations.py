"""One model in many quantisations: which files belong to which, as GGUF repositories name them.

Example:
    >>> [group.label for group in group_quantizations(offer.files)]  # doctest: +SKIP
    ['Q4_K_M', 'Q8_0']
"""

from collections.abc import Iterable
from dataclasses import dataclass

from modelvault.core.model_files import quantization_label
from modelvault.sources.fetch.file import OfferedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """The files of one quantisation."""

    label: str
    """As the field spells it: ``Q4_K_M``."""
    include: str
    """Pattern that chooses these files and no other quantisation's."""
    files: tuple[str, ...]
    """Paths, sorted."""
    size: int | None
    """Bytes of all of them; None where the source does not say how long one is."""


def group_quantizations(files: Iterable[OfferedFile]) -> tuple[Quantization, ...]:
    """Return the quantisations that GGUF files are named after, smallest first.

    Projectors belong to all of them and are in none.
    """
    found: dict[str, list[tuple[OfferedFile, str]]] = {}
    for file in files:
        label = quantization_label(file.path)
        if label:
            found.setdefault(label.upper(), []).append((file, label))
    spelled = {label: _spelling(members) for label, members in found.items()}
    groups = [
        Quantization(
            label=label,
            include=_pattern(spelled[label], spelled.values()),
            files=tuple(sorted(file.path for file, _ in members)),
            size=_total(file.size for file, _ in members),
        )
        for label, members in found.items()
    ]
    return tuple(sorted(groups, key=lambda group: (group.size or 0, group.label)))


def _total(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)


def _spelling(members: Iterable[tuple[OfferedFile, str]]) -> str:
    """Return the label as all files spell it; ``?`` where they differ in case."""
    first, *others = (text for _, text in members)
    return "".join(
        letter if all(text[index] == letter for text in others) else "?"
        for index, letter in enumerate(first)
    )


def _pattern(text: str, spelled: Iterable[str]) -> str:
    """Return a pattern for a label: ``F16`` must not take ``BF16``, nor ``Q4_K`` ``Q4_K_M``."""
    longer = [other for other in spelled if other != text and text in other]
    before = any(not other.startswith(text) for other in longer)
    after = any(other.startswith(text) for other in longer)
    return f"*{'[!A-Za-z0-9]' if before else ''}{text}{'[.-]' if after else ''}*"
