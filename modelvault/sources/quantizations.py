"""One model in many quantisations: which files belong to which, as GGUF repositories name them.

Example:
    >>> [group.label for group in group_quantizations(offer.files)]  # doctest: +SKIP
    ['Q4_K_M', 'Q8_0']
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from modelvault.core.hub_request import literal_pattern, patterns_for_type
from modelvault.core.model_files import is_license, is_model_card, quantization_label
from modelvault.errors import BadOption, NothingSelected
from modelvault.sources.fetch.file import OfferedFile

_DYNAMIC = "UD-"
"""What some publishers put before a type whose tensors they chose one by one."""


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


def patterns_of_type(label: str, files: Sequence[OfferedFile], model: str) -> tuple[str, ...]:
    """Return what takes one type of a repository, with its licence and card.

    Args:
        label: The type as a user spells it: ``q4_k_m``.
        files: What the repository holds.
        model: Its name.

    Raises:
        BadOption: There are no GGUF files at all.
        NothingSelected: There are none of this type; the hint names those that there are.
    """
    groups = group_quantizations(files)
    wanted = label.upper().removeprefix(_DYNAMIC)
    patterns = tuple(
        pattern
        for pattern in patterns_for_type(label)
        if any(fnmatchcase(file.path, pattern) for file in files)
    )
    if not groups:
        raise BadOption(
            f"{model} holds no GGUF files, and the Hub has no other variants",
            hint=f"pull {model}, then: modelvault convert {model} --to gguf:{label}",
        )
    if not patterns or not any(group.label == wanted for group in groups):
        labels = ", ".join(sorted(group.label for group in groups))
        raise NothingSelected(
            f"{model} holds no GGUF files of type {label}", hint=f"there are: {labels}"
        )
    texts = (file.path for file in files if is_license(file.path) or is_model_card(file.path))
    return (*patterns, *map(literal_pattern, texts))


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
