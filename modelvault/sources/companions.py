"""What a pattern leaves behind that the chosen files do not work without: it comes along.

Whoever asks for one quantisation of a GGUF repository names the model's file, and means the
model: all parts of it where it is split, and the projector without which it sees no images.
What ``--exclude`` names stays out.

Example:
    >>> find_companions(["m-Q4_K_M.gguf"], ["m-Q8_0.gguf", "mmproj-F16.gguf"]).added
    ('mmproj-F16.gguf',)
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from modelvault.core.model_files import is_gguf_model, is_projector
from modelvault.core.weight_names import missing_parts

_BEST_FIRST = ("F16", "BF16", "Q8_0", "F32")
"""Types of projectors: one that every runtime reads, then by size."""
_TYPE = re.compile(r"(?<![a-z0-9])(BF16|F16|F32|Q8_0)(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Companions:
    """Files that come along."""

    added: tuple[str, ...]
    notes: tuple[str, ...]
    """Why, one sentence each."""


def find_companions(chosen: Sequence[str], others: Sequence[str]) -> Companions:
    """Return what of the other files belongs to the chosen ones.

    Args:
        chosen: Paths that patterns chose.
        others: Paths that they did not; not those that the user leaves out.
    """
    models = [path for path in chosen if is_gguf_model(path)]
    if not models:
        return Companions(added=(), notes=())
    added, notes = _parts(models, set(others))
    if not any(is_projector(path) for path in chosen):
        projector = _choose_projector(models, [path for path in others if is_projector(path)])
        if projector is not None:
            added.append(projector)
            notes.append(
                f"{projector} comes along: without it the model sees no images"
                f" (--exclude '{projector}' leaves it out)"
            )
    return Companions(added=tuple(added), notes=tuple(notes))


def _parts(models: Sequence[str], others: Collection[str]) -> tuple[list[str], list[str]]:
    added: list[str] = []
    notes: list[str] = []
    for whole, parts in missing_parts(models).items():
        found = [path for path in parts if path in others]
        if found:
            added += found
            notes.append(
                f"{len(found)} more parts of {whole} come along: a model in parts is loaded whole"
            )
    return added, notes


def _choose_projector(models: Sequence[str], projectors: Sequence[str]) -> str | None:
    """Return the projector that stands nearest to the models; of several the best type."""
    folder = models[0].rpartition("/")[0]
    while True:
        near = [path for path in projectors if path.rpartition("/")[0] == folder]
        if near or not folder:
            break
        folder = folder.rpartition("/")[0]
    return min(near or projectors, key=lambda path: (_rank(path), path), default=None)


def _rank(path: str) -> int:
    match = _TYPE.search(path.rpartition("/")[2])
    type_ = match[1].upper() if match else ""
    return _BEST_FIRST.index(type_) if type_ in _BEST_FIRST else len(_BEST_FIRST)
