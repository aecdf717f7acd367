"""``general.*`` metadata: what the file says of itself.

Source:
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#general-metadata;
    llama.cpp ``src/llama-vocab.cpp`` (what the runtime makes of a name).
"""

import re
from collections.abc import Collection, Iterator
from typing import Literal

import gguf

from modelvault.core.protocol import Request
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.tensors import Blueprint, Entry

_SAMPLING: tuple[tuple[tuple[str, ...], str, Literal["i32", "f32"]], ...] = (
    (("top_k",), "top_k", "i32"),
    (("top_p",), "top_p", "f32"),
    (("min_p",), "min_p", "f32"),
    (("xtc_probability",), "xtc_probability", "f32"),
    (("xtc_threshold",), "xtc_threshold", "f32"),
    (("temperature",), "temp", "f32"),
    (("penalty_last_n",), "penalty_last_n", "i32"),
    (("penalty_repeat", "repetition_penalty"), "penalty_repeat", "f32"),
    (("mirostat",), "mirostat", "i32"),
    (("mirostat_tau",), "mirostat_tau", "f32"),
    (("mirostat_eta",), "mirostat_eta", "f32"),
)
"""Names in ``generation_config.json``, of which the first counts; key; kind."""

_PHI3 = re.compile(r"phi(?=3)", re.IGNORECASE)
_PHI3_TOKENS = frozenset({"<unk>", "<s>", "</s>", "<|endoftext|>"})
"""What llama.cpp looks up, and must find, in a model whose name holds ``phi3``."""
_KEEPS_CASE = re.compile(r"v\d+(?:\.\d+)*|\d.*")


def general_entries(
    request: Request, source: Checkpoint, blueprint: Blueprint, tokens: Collection[str]
) -> Iterator[Entry]:
    """Yield the keys that come before the architecture's own.

    Args:
        request: Names the model and its licence.
        source: Its files.
        blueprint: Its tensors and architecture.
        tokens: Its vocabulary.
    """
    yield _text("architecture", blueprint.architecture)
    yield _text("type", "model")
    yield from _sampling(source)
    yield _text("name", _name(request.model.rpartition("/")[2], tokens))
    yield _text("size_label", _size_label(blueprint))
    if request.license:
        yield _text("license", request.license)


def file_entries(file_type: int) -> Iterator[Entry]:
    """Yield the keys that differ between targets."""
    yield Entry(
        key=gguf.Keys.General.QUANTIZATION_VERSION, kind="u32", value=gguf.GGML_QUANT_VERSION
    )
    yield Entry(key=gguf.Keys.General.FILE_TYPE, kind="u32", value=file_type)


def _name(name: str, tokens: Collection[str]) -> str:
    """Return the model's name; one that the runtime would take for Phi-3's is parted."""
    words = title(name)
    return words if _PHI3_TOKENS.issubset(tokens) else _PHI3.sub(r"\g<0> ", words)


def title(name: str) -> str:
    """Return a model's name as words: ``Llama-3.1-8b`` becomes ``Llama 3.1 8b``."""
    words = name.replace("-", " ").split()
    return " ".join(
        word.title() if word.islower() and not _KEEPS_CASE.fullmatch(word) else word
        for word in words
    )


def _size_label(blueprint: Blueprint) -> str:
    """Return the size; of a mixture ``8x7.2B``: how often, and what one token passes at least."""
    experts = [tensor for tensor in blueprint.tensors if "_exps." in tensor.name]
    weights = sum(tensor.weights for tensor in blueprint.tensors)
    if not experts:
        return size_label(weights)
    kinds = [tensor.shape[0] for tensor in experts]
    spared = sum(tensor.weights - tensor.weights // tensor.shape[0] for tensor in experts)
    return f"{sum(kinds) // len(kinds)}x{size_label(weights - spared)}"


def size_label(weights: int) -> str:
    """Return a number of weights in two digits or more: ``2.2M``, ``8.0B``."""
    for factor, suffix in ((1e-12, "T"), (1e-9, "B"), (1e-6, "M"), (1e-3, "K")):
        if weights * factor > 1 or suffix == "K":
            break
    scaled = weights * factor
    digits = max(2 - len(str(round(scaled)).lstrip("0")), 0)
    return f"{scaled:.{digits}f}{suffix}"


def _sampling(source: Checkpoint) -> Iterator[Entry]:
    """Yield the publisher's sampling defaults, which runtimes take as theirs."""
    settings = Config(
        source.optional_object("generation_config.json"), where="generation_config.json"
    )
    for names, key, kind in _SAMPLING:
        name = next((name for name in names if settings.has(name)), "")
        if name and kind == "i32":
            value: int | float = settings.integer(name, least=-1)
        elif name:
            value = settings.number(name)
        else:
            continue
        yield Entry(key=f"general.sampling.{key}", kind=kind, value=value)
    settings.check()


def _text(key: str, value: str) -> Entry:
    return Entry(key=f"general.{key}", kind="string", value=value)
