r"""What a file of a model is, by its name: the one table.

Pulls choose by it, installs carry by it, converters and formats are told by it, so that they
never disagree. Names are compared without regard to case, as repositories spell them both ways.
A name is a claim only: readers of headers check what the bytes are.

Example:
    >>> weight_format("unet/Model-Q4_K_M.GGUF"), weight_format("config.json")
    (<WeightFormat.GGUF: 'gguf'>, None)
    >>> parse_shard("model-00002-of-00003.safetensors").names()[0]
    'model-00001-of-00003.safetensors'
    >>> quantization_label("Model-Q4_0_4_4.gguf")
    'Q4_0_4_4'

Source:
    https://huggingface.co/docs/transformers (file names),
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (names of GGUF files)
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class WeightFormat(StrEnum):
    """How weights are written."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    PICKLE = "pickle"
    """PyTorch's: loading one runs what it says."""
    ONNX = "onnx"
    TENSORFLOW = "tensorflow"
    FLAX = "flax"
    RUST = "rust"
    COREML = "coreml"
    NUMPY = "numpy"


_SUFFIXES: Mapping[WeightFormat, tuple[str, ...]] = {
    WeightFormat.SAFETENSORS: ("safetensors",),
    WeightFormat.GGUF: ("gguf",),
    WeightFormat.PICKLE: ("bin", "pt", "pth", "ckpt", "pkl", "pickle"),
    WeightFormat.ONNX: ("onnx", "onnx_data"),
    WeightFormat.TENSORFLOW: ("h5", "tflite", "pb"),
    WeightFormat.FLAX: ("msgpack",),
    WeightFormat.RUST: ("ot",),
    WeightFormat.COREML: ("mlmodel",),
    WeightFormat.NUMPY: ("npz",),
}
_FORMATS: Mapping[str, WeightFormat] = {
    suffix: format_ for format_, suffixes in _SUFFIXES.items() for suffix in suffixes
}

MOST_SHARDS = 10_000
"""Longest set of shards whose names are made up from one of them."""

TOKENIZERS: tuple[tuple[str, ...], ...] = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("tekken.json",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
"""Files of a model folder that make up a tokenizer, each set enough by itself."""

MODEL_FILE = "model.safetensors"
"""Weights in one file, as ``transformers`` names it."""
MODEL_INDEX = "model.safetensors.index.json"
"""Which tensor is in which file, where there are several."""
ADAPTER_CONFIG = "adapter_config.json"
"""What a LoRA adapter says of the model that it belongs to."""

_INDEX = re.compile(r"\.index(?:\.[a-z0-9_]+)?\.json$", re.IGNORECASE)
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf|\.safetensors)", re.IGNORECASE)
_TRAINING = re.compile(
    r"(?:optimizer|scheduler|scaler|rng_state(?:_\d+)?|training_args)\.(?:bin|pt|pth|pkl)",
    re.IGNORECASE,
)
_LICENSE = re.compile(
    r"(?:(?:model|code|third[ _-]?party)[ _-])?"
    r"(?:licen[cs]es?|copying|notices?|use[ _-]policy)(?:[ ._-].*)?",
    re.IGNORECASE,
)
_CONSOLIDATED = re.compile(r"consolidated(?:[.-].*)?", re.IGNORECASE)
_MATRIX = re.compile(r"(?<![a-z])imatrix(?![a-z])", re.IGNORECASE)
_PROJECTOR = re.compile(r"(?<![a-z0-9])mmproj(?![a-z0-9])", re.IGNORECASE)
# A label ends where no further part of a quantisation's name follows: Q4_0_4_4 is no Q4_0.
_QUANTIZATION = re.compile(
    r"(?<![a-z0-9])"
    r"((?>(?:I?Q[1-8]_[A-Z0-9]+(?:_(?:\d{1,2}|NL|XXS|XS|S|M|L|XL|XXL)(?![a-z0-9]))*))"
    r"|TQ[12]_0|MXFP4|NVFP4|BF16|F16|F32)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One file of a set that holds a model together."""

    stem: str
    """Path before ``-00001-of-00003``."""
    number: int
    """From 1."""
    count: int
    suffix: str
    """``.gguf`` or ``.safetensors``, as the name spells it."""

    def names(self) -> list[str]:
        """Return the names of all files of the set, in order."""
        return [
            f"{self.stem}-{number:05}-of-{self.count:05}{self.suffix}"
            for number in range(1, self.count + 1)
        ]


def weight_format(path: str) -> WeightFormat | None:
    """Return how a file's weights are written; None where it holds none."""
    return _FORMATS.get(path.rpartition(".")[2].lower()) if "." in path else None


def indexed_name(path: str) -> str:
    """Return the weights' name that an index speaks of: ``model.safetensors``, else ``path``."""
    return _INDEX.sub("", path)


def parse_shard(path: str) -> Shard | None:
    """Return which shard of which set a file is; None for a whole file, or a set too long."""
    match = _SHARD.fullmatch(path)
    if match is None:
        return None
    shard = Shard(stem=match[1], number=int(match[2]), count=int(match[3]), suffix=match[4])
    return shard if 1 <= shard.count <= MOST_SHARDS else None


def shard_names(path: str) -> list[str]:
    """Return the names of all shards of the set that ``path`` belongs to, or ``path`` alone."""
    shard = parse_shard(path)
    return [path] if shard is None else shard.names()


def is_adapter(path: str) -> bool:
    """Return whether a file is an adapter's, not a model's."""
    return _name(path).lower().startswith("adapter_")


def is_projector(path: str) -> bool:
    """Return whether a GGUF maps images or sound into a model's space, and is no model itself."""
    return weight_format(path) is WeightFormat.GGUF and bool(_PROJECTOR.search(_name(path)))


def is_gguf_model(path: str) -> bool:
    """Return whether a GGUF holds a model, and neither a projector nor an importance matrix."""
    return (
        weight_format(path) is WeightFormat.GGUF
        and not is_projector(path)
        and _MATRIX.search(_name(path)) is None
    )


def is_consolidated(path: str) -> bool:
    """Return whether a file repeats a model's weights under the names of its training."""
    return _CONSOLIDATED.fullmatch(_name(path)) is not None


def is_training_state(path: str) -> bool:
    """Return whether a file is what training leaves beside weights, such as an optimizer."""
    return _TRAINING.fullmatch(_name(path)) is not None


def is_code(path: str) -> bool:
    """Return whether a file is a program's text."""
    return path.lower().endswith(".py")


def is_license(path: str) -> bool:
    """Return whether a file is a licence, a notice, or a policy of use."""
    name = _name(path)
    return (
        _LICENSE.fullmatch(name) is not None and weight_format(name) is None and not is_code(name)
    )


def is_model_card(path: str) -> bool:
    """Return whether a file is the model's card."""
    return path.lower() == "readme.md"


def has_tokenizer(paths: Collection[str]) -> bool:
    """Return whether a model folder's files hold a tokenizer.

    Args:
        paths: Relative to the folder.
    """
    return any(all(name in paths for name in names) for names in TOKENIZERS) or any(
        path.endswith(".tiktoken") for path in paths
    )


def quantization_label(path: str) -> str | None:
    """Return the quantisation that a GGUF's name ends with, spelled as there; None without one.

    A projector's is its own, not the model's. A label that no release of llama.cpp has is
    returned as it stands, never as one that it begins with.
    """
    if not is_gguf_model(path):
        return None
    labels: list[str] = _QUANTIZATION.findall(_name(path))
    return labels[-1] if labels else None


def _name(path: str) -> str:
    return path.rpartition("/")[2]
