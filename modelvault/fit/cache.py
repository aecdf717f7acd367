"""What a cache of keys and values takes, as each runtime lays it out.

Example:
    >>> CacheType.parse("q8_0").row_bytes(128)
    136

Source: ``llama-kv-cache*.cpp`` and ``llama-memory-recurrent.cpp`` of llama.cpp, October 2026;
``vllm/v1/kv_cache_interface.py`` of vLLM 0.32.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from modelvault.errors import BadOption
from modelvault.fit.shape import Attention, ModelShape


class CacheType(Enum):
    """How a cached value is written: values and bytes of a block."""

    F32 = ("f32", 1, 4)
    F16 = ("f16", 1, 2)
    BF16 = ("bf16", 1, 2)
    FP8 = ("fp8", 1, 1)
    Q8_0 = ("q8_0", 32, 34)
    Q5_1 = ("q5_1", 32, 24)
    Q5_0 = ("q5_0", 32, 22)
    Q4_1 = ("q4_1", 32, 20)
    Q4_0 = ("q4_0", 32, 18)

    def __init__(self, label: str, values: int, size: int) -> None:
        """Name the parts.

        Args:
            label: As ``--kv-cache`` spells it.
            values: Values of a block.
            size: Bytes of a block.
        """
        self.label = label
        self.values = values
        self.block_bytes = size

    @property
    def is_quantized(self) -> bool:
        """Whether a block shares a scale between its values."""
        return self.values > 1

    def row_bytes(self, count: int) -> int:
        """Return the bytes of ``count`` values, in whole blocks."""
        return -(-count // self.values) * self.block_bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the type that a user means.

        Raises:
            BadOption: There is none of this name.
        """
        for member in cls:
            if member.label == text.lower():
                return member
        known = ", ".join(member.label for member in cls)
        raise BadOption(f"--kv-cache {text!r} is no type of a cache", hint=f"one of {known}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be served at once."""

    context: int
    """Tokens of each sequence, answer included."""
    sequences: int = 1
    cache: CacheType = CacheType.F16


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """The bytes of a cache."""

    tokens: int
    """Of what grows with the context."""
    states: int = 0
    """Of what each sequence keeps whatever its length: recurrent layers."""

    @property
    def total(self) -> int:
        """Bytes altogether."""
        return self.tokens + self.states


LLAMACPP_PADDING = 256
"""Cells that llama.cpp rounds a cache up to."""
LLAMACPP_BATCH = 512
"""Tokens that llama.cpp computes at once, unless told otherwise (``--ubatch-size``)."""
VLLM_BLOCK = 16
"""Tokens of a block of vLLM's cache."""


def llamacpp_cells(load: Load, window: int | None) -> int:
    """Return the tokens that llama.cpp has room for in each sequence of a layer's cache.

    Args:
        load: What is served.
        window: How far the layer looks back; None for everything.
    """
    cells = padded(load.context, LLAMACPP_PADDING)
    if window is None:
        return cells
    batch = min(LLAMACPP_BATCH, cells * load.sequences)
    return padded(min(cells, window + batch), LLAMACPP_PADDING)


def llamacpp_cache(shape: ModelShape, load: Load) -> CacheSize:
    """Return what llama.cpp's caches take."""
    if not shape.causal:
        return CacheSize(tokens=0)
    size = 0
    for found in shape.attentions:
        cells = llamacpp_cells(load, found.window)
        size += cells * load.sequences * _token_bytes(found, load.cache)
    states = sum(
        4 * (found.convolution + found.state) * load.sequences for found in shape.recurrents
    )
    return CacheSize(tokens=size, states=states)


def paged_cache(shape: ModelShape, load: Load, *, gpus: int = 1) -> CacheSize:
    """Return what a paged cache takes on each GPU, as vLLM and SGLang have it.

    Heads are divided among the GPUs; where there are fewer heads than GPUs, each holds one. A
    latent is not divided: each GPU holds all of it.

    Args:
        shape: Of the model.
        load: What is served.
        gpus: Over how many the model is divided.
    """
    if not shape.causal:
        return CacheSize(tokens=0)
    size = 0
    for found in shape.attentions:
        tokens = load.context if found.window is None else min(load.context, found.window)
        tokens = padded(tokens, VLLM_BLOCK)
        size += tokens * load.sequences * _token_bytes(found, load.cache, gpus=gpus)
    width = 4 if load.cache is CacheType.F32 else 2
    states = sum(
        width * -(-(found.convolution + found.state) // gpus) * load.sequences
        for found in shape.recurrents
    )
    return CacheSize(tokens=size, states=states)


def padded(number: int, step: int) -> int:
    """Return a number rounded up to a multiple of ``step``."""
    return number + -number % step


def _token_bytes(found: Attention, cache: CacheType, *, gpus: int = 1) -> int:
    """Return what one token takes in one layer, on one GPU of several."""
    if found.shares_cache:
        return 0
    index = cache.row_bytes(found.index_width) if found.index_width else 0
    if found.latent:
        return cache.row_bytes(found.latent) + index
    heads = -(-found.kv_heads // gpus)
    keys, values = heads * found.key_width, heads * found.value_width
    return cache.row_bytes(keys) + cache.row_bytes(values) + index
