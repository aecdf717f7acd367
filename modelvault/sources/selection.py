"""Which files of an offer to pull: a decision, without touching disk or network.

Patterns are the Hub client's: ``fnmatch`` over the whole path, ``*`` crosses folders, and
``folder/`` stands for everything below it. Excludes go first. Without includes, one copy
of the weights is chosen where a repository holds several:

* safetensors before GGUF, pickle, ONNX, TensorFlow and Flax files beside or below them;
  pickle before the last three where there are no safetensors;
* the weights of the ``transformers`` layout before ``consolidated*`` and ``original/``;
* ``model.safetensors`` before ``model.fp16.safetensors`` and the like;
* no training state (optimizer, scheduler …).

An include overrides all of that. Whatever is left out is named, with its reason.

Example:
    >>> selection = select(offer.files, include=["*.json", "*Q4_K_M*"], exclude=[])
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.model_files import (
    WeightFormat,
    indexed_name,
    is_adapter,
    is_consolidated,
    is_training_state,
    weight_format,
)
from modelvault.errors import BadOption, BadPath, NothingSelected
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.quantizations import group_quantizations

_MODELS = frozenset({WeightFormat.SAFETENSORS, WeightFormat.PICKLE})
_OTHERS = frozenset(WeightFormat) - _MODELS - {WeightFormat.GGUF}

_PRECISION = r"(?:fp|bf|float|int)(?:4|8|16|32)(?:_[a-z0-9]+)?|[48]bit|ema|non_ema"
_VARIANT = re.compile(rf"\.({_PRECISION})(?=[.-])")
_LAYOUT = re.compile(r"(?:model|pytorch_model)(?:[.-][^/]*)?\.(?:safetensors|bin)")
_ANY_DIGEST = Digest("0" * 64)
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that is not pulled."""

    path: str
    size: int | None
    """Length in bytes; None where the source was not asked for it."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is pulled of an offer and what is not."""

    chosen: tuple[OfferedFile, ...]
    """Sorted by path."""
    left_out: tuple[LeftOut, ...]
    """Sorted by path."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""


def select(
    files: Iterable[OfferedFile], *, include: Sequence[str], exclude: Sequence[str]
) -> Selection:
    """Return what to pull of ``files``.

    Raises:
        BadOption: A pattern is empty.
        NothingSelected: No file is left; the hint names some that there are.
        BadPath: Two chosen paths would be one file on some systems.
    """
    offered = sorted(files, key=lambda file: file.path)
    wanted, unwanted = _patterns(include, "--include"), _patterns(exclude, "--exclude")
    reasons: dict[str, str] = {}
    for file in offered:
        if _matches(file.path, unwanted):
            reasons[file.path] = "matches --exclude"
        elif wanted and not _matches(file.path, wanted):
            reasons[file.path] = "does not match --include"
    if not wanted:
        for rule in (_training_state, _second_copies, _other_layouts, _variants):
            left = [file.path for file in offered if file.path not in reasons]
            reasons |= rule(left)
    chosen = tuple(file for file in offered if file.path not in reasons)
    if not chosen:
        raise _nothing_selected(offered)
    _check_together(chosen)
    return Selection(
        chosen=chosen,
        left_out=tuple(
            LeftOut(path=file.path, size=file.size, reason=reasons[file.path])
            for file in offered
            if file.path in reasons
        ),
        notes=(*_unmatched(offered, include, exclude), *_suggest_one(chosen, include)),
    )


def _patterns(patterns: Sequence[str], option: str) -> list[str]:
    if not all(patterns):
        raise BadOption(f"{option}: an empty pattern matches nothing")
    return [_pattern(text) for text in patterns]


def _pattern(text: str) -> str:
    text = text.replace("\\", "/")
    return f"{text}*" if text.endswith("/") else text


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


# -- the defaults: each rule maps paths that it leaves out to the reason


def _training_state(paths: Sequence[str]) -> dict[str, str]:
    return {path: "training state" for path in paths if is_training_state(path)}


def _second_copies(paths: Sequence[str]) -> dict[str, str]:
    """Leave out weights where better ones of the same family stand beside or above them."""
    safe = {_home(path) for path in paths if _weights(path) is WeightFormat.SAFETENSORS}
    pickled = {_home(path) for path in paths if _weights(path) is WeightFormat.PICKLE}
    reasons: dict[str, str] = {}
    for path in paths:
        format_ = _weights(path)
        if format_ is None or format_ is WeightFormat.SAFETENSORS:
            continue
        if _covered(path, safe):
            reasons[path] = "safetensors hold the same weights"
        elif format_ in _OTHERS and _covered(path, pickled):
            reasons[path] = "PyTorch files hold the same weights"
    return reasons


def _other_layouts(paths: Sequence[str]) -> dict[str, str]:
    """Leave out the publisher's own layout where that of ``transformers`` is there."""
    homes = {_folder(path) for path in paths if _LAYOUT.fullmatch(_name(path))}
    reasons: dict[str, str] = {}
    for path in paths:
        if path.startswith("original/") and "" in homes:
            reasons[path] = "the original layout of the same weights"
        elif is_consolidated(path) and _weights(path) in _MODELS and _folder(path) in homes:
            reasons[path] = "consolidated copy of the same weights"
    return reasons


def _variants(paths: Sequence[str]) -> dict[str, str]:
    """Leave out ``model.fp16.safetensors`` where there is a ``model.safetensors``."""
    models = [path for path in paths if _weights(path) in _MODELS]
    plain = {_base(path) for path in models if not _variant(path)}
    return {
        path: f"variant {_variant(path)} of weights that are chosen"
        for path in models
        if _variant(path) and _base(path) in plain
    }


def _weights(path: str) -> WeightFormat | None:
    """Return the format of weights that a path names, itself or as their index."""
    return weight_format(indexed_name(path))


def _home(path: str) -> tuple[str, bool]:
    """Return the folder of weights, and whether they are an adapter's, not a model's."""
    return _folder(path), is_adapter(path)


def _covered(path: str, homes: set[tuple[str, bool]]) -> bool:
    folder, adapter = _home(path)
    while folder:
        if (folder, adapter) in homes:
            return True
        folder = _folder(folder)
    return ("", adapter) in homes


def _variant(path: str) -> str:
    match = _VARIANT.search(_name(path))
    return match[1] if match else ""


def _base(path: str) -> str:
    """Return folder and first word of a weight file's name, its shard and variant dropped."""
    name = indexed_name(_name(path))
    stem, _, suffix = _VARIANT.sub("", name).rpartition(".")
    return f"{_folder(path)}/{re.sub(r'-[0-9]+-of-[0-9]+$', '', stem)}.{suffix}"


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


# -- what the user is told


def _nothing_selected(offered: Sequence[OfferedFile]) -> NothingSelected:
    if not offered:
        return NothingSelected("there are no files to pull", hint="check the revision or folder")
    names = ", ".join(file.path for file in offered[:_EXAMPLES])
    more = f" and {len(offered) - _EXAMPLES} more" if len(offered) > _EXAMPLES else ""
    return NothingSelected(
        f"none of {len(offered)} files is selected", hint=f"there are: {names}{more}"
    )


def _check_together(chosen: Sequence[OfferedFile]) -> None:
    """Apply the manifest's own rule for sets of paths before a byte is fetched."""
    try:
        Manifest.of(
            FileEntry(path=file.path, digest=_ANY_DIGEST, size=file.size or 0) for file in chosen
        )
    except BadPath as error:
        raise BadPath(error.message, hint="leave one of them out with --exclude") from error


def _unmatched(
    offered: Sequence[OfferedFile], include: Sequence[str], exclude: Sequence[str]
) -> list[str]:
    """Name patterns that match nothing: most likely they are misspelt."""
    return [
        f"{option} '{text}' matches no file"
        for option, patterns in (("--include", include), ("--exclude", exclude))
        for text in patterns
        if not any(fnmatchcase(file.path, _pattern(text)) for file in offered)
    ]


def _suggest_one(chosen: Sequence[OfferedFile], include: Sequence[str]) -> list[str]:
    """Suggest an include where a repository offers one model many times over."""
    groups = group_quantizations(chosen)
    if include or len(groups) < 2:
        return []
    one = next((group for group in groups if group.label == "Q4_K_M"), groups[0])
    listed = ", ".join(sorted(group.label for group in groups))
    note = f"{len(groups)} quantisations of one model are chosen ({listed})"
    return [f"{note}: --include '{one.include}' takes one"]
