"""How an embedding model makes one vector of many: sentence-transformers' files as metadata.

``modules.json`` lists what a text passes after the transformer. Runtimes do the pooling that
``<architecture>.pooling_type`` names (and take a model with that key for an embedding model), and
normalise on their own; any other module would change the vectors and is refused.

Source:
    https://sbert.net/docs/sentence_transformer/usage/custom_models.html;
    llama.cpp ``include/llama.h`` (``enum llama_pooling_type``).
"""

from collections.abc import Iterator
from typing import Any

from gguf import PoolingType

from modelvault.errors import MalformedRecord, UnsupportedSource
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.tensors import Blueprint, Entry

MODULES = "modules.json"
_TYPES = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS, "lasttoken": PoolingType.LAST}
_FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
}
_PASSING = ("Transformer", "Pooling", "Normalize", "Dropout")
"""Modules that the runtime has, or that do nothing when a model is only used."""


def pooling_entries(source: Checkpoint, blueprint: Blueprint) -> Iterator[Entry]:
    """Yield the pooling of an embedding model; nothing for others, or where the family says it.

    Raises:
        UnsupportedSource: A module or a way of pooling that the runtime does not have.
        MalformedRecord: A file is not what it should be.
        SourceIncomplete: The pooling's configuration is missing.
    """
    key = f"{blueprint.architecture}.pooling_type"
    if any(entry.key == key for entry in blueprint.entries):
        return
    for module in _modules(source):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _PASSING:
            raise UnsupportedSource(
                f"{MODULES}: module '{kind:.60}' changes the embeddings and has no place in GGUF",
                hint="use a model that ends with pooling, or serve this one with transformers",
            )
        if kind == "Pooling":
            path = str(module.get("path") or "")
            yield Entry(
                key=key,
                kind="u32",
                value=_TYPES[_mode(source, f"{path}/config.json" if path else "config.json")],
            )


def _modules(source: Checkpoint) -> list[dict[str, Any]]:
    if not source.has(MODULES):
        return []
    value = source.value(MODULES)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedRecord(f"{MODULES} is not a list of modules")
    if sum(str(item.get("type", "")).endswith("Pooling") for item in value) > 1:
        raise UnsupportedSource(f"{MODULES}: more than one pooling")
    return value


def _mode(source: Checkpoint, path: str) -> str:
    """Return the one way of pooling that a module's configuration asks for."""
    settings = source.object(path)
    chosen = [name for name, value in settings.items() if value is True and "pooling_mode" in name]
    modes = [_FLAGS.get(name, name) for name in chosen]
    if isinstance(settings.get("pooling_mode"), str):
        modes = [settings["pooling_mode"]]
    if len(modes) != 1 or modes[0] not in _TYPES:
        raise UnsupportedSource(
            f"{path}: pooling by {', '.join(modes) or 'nothing'!s:.100}; "
            f"llama.cpp pools by one of {', '.join(_TYPES)}",
            hint="use a model that pools so, or serve this one with transformers",
        )
    return modes[0]
