"""Which files of a model only repeat what others of it hold: a decision by their names.

A file is left out where it is a *copy*, by its known name in the same folder, of weights that
are there whole. Everything else comes along: whatever lies beside or below weights may be a part
of the model, such as a speaker table, a vocoder, or a module of its own.

* safetensors before PyTorch's pickles, and both before ONNX, TensorFlow, Flax and Rust;
  exports in the folder ``onnx`` below count as beside the model;
* safetensors of the ``transformers`` layout before GGUF;
* the weights of that layout before ``consolidated*`` and the folder ``original``;
* ``model.safetensors`` before ``model.fp16.safetensors`` and the like;
* no training state (optimizer, scheduler …).

Example:
    >>> find_copies(["model.safetensors", "pytorch_model.bin", "speakers.pt"])
    {'pytorch_model.bin': 'safetensors hold the same weights'}
"""

from collections.abc import Callable, Mapping, Sequence

from modelvault.core.model_files import (
    WeightFormat,
    is_consolidated,
    is_gguf_model,
    is_projector,
    is_training_state,
)
from modelvault.core.weight_names import (
    MODEL,
    WeightsName,
    exported_models,
    missing_parts,
    parse_part,
    parse_weights,
)

_LAYOUT = (WeightFormat.SAFETENSORS, WeightFormat.PICKLE)
"""Formats that ``transformers`` loads."""
_ORIGINAL = "original"


def find_copies(paths: Sequence[str]) -> dict[str, str]:
    """Return the files that are left out unless somebody asks for them, each with the reason.

    Args:
        paths: Of everything that is there; what is not can make nothing a copy.
    """
    reasons: dict[str, str] = {}
    for rule in _RULES:
        left = [path for path in paths if path not in reasons]
        reasons |= rule(left)
    return reasons


def _training_state(paths: Sequence[str]) -> dict[str, str]:
    return {path: "training state" for path in paths if is_training_state(path)}


def _other_formats(paths: Sequence[str]) -> dict[str, str]:
    """Leave out weights that stand beside, in a better format."""
    names = _named(paths)
    whole = _whole(names)
    names |= exported_models(paths)
    reasons: dict[str, str] = {}
    for path, name in names.items():
        if name.format is WeightFormat.SAFETENSORS or is_projector(path):
            continue
        if name.format is WeightFormat.GGUF:
            copied = is_gguf_model(path) and _holds(whole, name, WeightFormat.SAFETENSORS, MODEL)
        else:
            copied = _holds(whole, name, WeightFormat.SAFETENSORS, name.family)
        if copied:
            reasons[path] = "safetensors hold the same weights"
        elif name.format not in _LAYOUT and _holds(whole, name, WeightFormat.PICKLE, name.family):
            reasons[path] = "PyTorch files hold the same weights"
    for path, name in names.items():
        if is_projector(path) and _is_alone(name, names, reasons):
            reasons[path] = "the model that it belongs to is left out"
    return reasons


def _is_alone(
    projector: WeightsName, names: Mapping[str, WeightsName], reasons: Mapping[str, str]
) -> bool:
    """Return whether all GGUF models beside a projector are left out."""
    models = [
        path
        for path, name in names.items()
        if name.folder == projector.folder and is_gguf_model(path)
    ]
    return bool(models) and all(path in reasons for path in models)


def _other_layouts(paths: Sequence[str]) -> dict[str, str]:
    """Leave out the publisher's own layout where that of ``transformers`` is there, whole."""
    names = _named(paths)
    homes = {
        folder
        for folder, family, variant, format_ in _whole(names)
        if (family, variant) == (MODEL, "") and format_ in _LAYOUT
    }
    original = any(name.folder == _ORIGINAL for name in names.values())
    reasons: dict[str, str] = {}
    for path in paths:
        name = names.get(path)
        if original and path.startswith(f"{_ORIGINAL}/") and "" in homes:
            reasons[path] = "the original layout of the same weights"
        elif name is not None and is_consolidated(path) and name.folder in homes:
            reasons[path] = "consolidated copy of the same weights"
    return reasons


def _variants(paths: Sequence[str]) -> dict[str, str]:
    """Leave out ``model.fp16.safetensors`` where there is a ``model.safetensors``."""
    names = _named(paths)
    whole = _whole(names)
    return {
        path: f"variant {name.variant} of weights that are chosen"
        for path, name in names.items()
        if name.variant
        and name.format in _LAYOUT
        and (name.folder, name.family, "", name.format) in whole
    }


_RULES: tuple[Callable[[Sequence[str]], dict[str, str]], ...] = (
    _training_state,
    _other_formats,
    _other_layouts,
    _variants,
)

_Key = tuple[str, str, str, WeightFormat]
"""Folder, family, variant and format of weights."""


def _named(paths: Sequence[str]) -> dict[str, WeightsName]:
    named = ((path, parse_weights(path)) for path in paths)
    return {path: name for path, name in named if name is not None}


def _whole(names: Mapping[str, WeightsName]) -> set[_Key]:
    """Return the weights of which every part is there; an index alone is no weights."""
    torn = missing_parts(names)
    broken, whole = set(), set()
    for path, name in names.items():
        key = (name.folder, name.family, name.variant, name.format)
        part = parse_part(path)
        if part is not None and part.whole in torn:
            broken.add(key)
        elif not path.endswith(".json"):
            whole.add(key)
    return whole - broken


def _holds(whole: set[_Key], name: WeightsName, format_: WeightFormat, family: str) -> bool:
    """Return whether the same weights are there in another format; a variant is another model's.

    A copy in half precision does not stand for the whole one; the other way round it does.
    """
    return any((name.folder, family, variant, format_) in whole for variant in {name.variant, ""})
