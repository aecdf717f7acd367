"""StableLM: layer norms with biases, and a rotary encoding of part of each head.

Source:
    transformers ``StableLmForCausalLM``; llama.cpp ``LLM_ARCH_STABLELM``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import (
    Rope,
    read_rope,
    rope_entries,
    rotary_columns,
)
from modelvault_converters.gguf.tensors import Blueprint, Entry, Part, Shapes, Tensor

ARCHITECTURES = ("StableLmForCausalLM", "StableLMEpochForCausalLM")

_ROTARY_KEYS = ("rope_pct", "partial_rotary_factor")
_ROTARY_SHARE = 0.25
"""Part of a head that positions turn, where the configuration does not say it."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a StableLM model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "stablelm")
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    parallel = values.flag("use_parallel_residual", default=False)
    return decoder.blueprint(
        values,
        _entries(values, decoder, rope, parallel=parallel),
        _tensors(values, decoder, parallel=parallel),
        warnings=rope.warnings,
    )


def _entries(values: Config, decoder: Decoder, rope: Rope, *, parallel: bool) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder, norm="layer", epsilon=1e-5)
    if (rope.kind, rope.theta) != ("default", 10000.0):
        yield from rope_entries(decoder, rope)  # the runtime's own base is left unsaid
    turned = rotary_columns(values, rope, decoder.head, keys=_ROTARY_KEYS, share=_ROTARY_SHARE)
    yield decoder.number("rope.dimension_count", turned)
    yield decoder.flag("use_parallel_residual", value=parallel)


def _tensors(values: Config, decoder: Decoder, *, parallel: bool) -> Iterator[Tensor]:
    yield from blocks.frame(decoder, bias=True)
    norms = blocks.PRE_NORMS[:1] if parallel else blocks.PRE_NORMS
    bias = "qkv" if values.flag("use_qkv_bias", default=False) else ""
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *norms, bias=True)
        yield from blocks.attention(decoder, layer, bias=bias)
        if values.flag("qk_layernorm", default=False):
            yield from _head_norms(decoder, layer)
        yield from blocks.feed_forward(decoder, layer)


def _head_norms(decoder: Decoder, layer: int) -> Iterator[Tensor]:
    """Yield the norms that each head of queries and keys has of its own, ``[heads, head]``."""
    for letter, heads in (("q", decoder.heads), ("k", decoder.kv_heads)):
        at = f"{decoder.source(layer)}self_attn.{letter}_layernorm.norms."
        parts = tuple(
            Part(name=f"{at}{number}.weight", shape=(decoder.head,), transposed=True)
            for number in range(heads)
        )
        name = decoder.name(f"self_attn.{letter}_layernorm.weight", layer)
        yield Tensor(name=name, shape=(heads, decoder.head), parts=parts)
