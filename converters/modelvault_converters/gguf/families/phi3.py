"""Phi-3, Phi-3.5 and Phi-4.

Queries, keys and values stay one matrix, gate and up another. Long contexts come as two tables of
rotary factors, one below and one beyond the trained context, and a factor for the attention.

Source:
    transformers ``Phi3ForCausalLM`` and ``_compute_longrope_parameters``; llama.cpp
    ``LLM_ARCH_PHI3``.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import Rope, read_rope, rotary_columns
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("Phi3ForCausalLM",)

_LONG = ("longrope", "su")
"""Names under which the two tables are known; Phi-3 calls all of them the same thing."""
_SHORTEST, _LONGEST = "short_factor", "long_factor"


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a Phi-3 model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "phi3")
    common.check_activation(values, "silu", "swish")
    rope = read_rope(values, decoder)
    if not rope.section.has("original_max_position_embeddings"):
        default = values.integer("max_position_embeddings")
        original = values.integer("original_max_position_embeddings", default=default)
    else:
        original = rope.original_context
    turned = rotary_columns(values, rope, decoder.hidden // decoder.heads)
    values.check()
    factors = tuple(_factors(rope, turned))
    entries = _entries(values, decoder, rope, turned, original, stretched=bool(factors))
    return decoder.blueprint(
        values, entries, _tensors(decoder, factors), warnings=_warnings(values)
    )


def _warnings(values: Config) -> tuple[str, ...]:
    window = values.integer("sliding_window", default=0, least=0)
    if not 0 < window < values.integer("max_position_embeddings"):
        return ()
    warning = (
        f"llama.cpp leaves out the sliding window of {window} tokens for this architecture and "
        "attends to the whole context"
    )
    return (warning,)


def _entries(
    values: Config, decoder: Decoder, rope: Rope, turned: int, original: int, *, stretched: bool
) -> Iterator[Entry]:
    yield decoder.number("block_count", decoder.layers)
    yield decoder.number("context_length", rope.context)
    yield decoder.number("rope.scaling.original_context_length", original)
    yield decoder.number("embedding_length", decoder.hidden)
    yield decoder.number("feed_forward_length", decoder.intermediate)
    yield decoder.number("attention.head_count", decoder.heads)
    yield decoder.number("attention.head_count_kv", decoder.kv_heads)
    epsilon = values.number("rms_norm_eps", default=1e-5)
    yield decoder.real("attention.layer_norm_rms_epsilon", epsilon)
    yield decoder.number("rope.dimension_count", turned)
    yield decoder.real("rope.freq_base", rope.theta)
    # Zero tells the runtime that a Phi-4 has none; without the key it assumes a Phi-3.
    window = values.integer("sliding_window", default=0, least=0)
    yield decoder.number("attention.sliding_window", window)
    if stretched:
        yield decoder.real("rope.scaling.attn_factor", _attention_factor(rope, original))


def _attention_factor(rope: Rope, original: int) -> float:
    """Return by how much attention is sharpened to make up for the longer context."""
    scale = rope.context / original
    if scale <= 1.0 or original < 2:
        return 1.0
    return math.sqrt(1.0 + math.log(scale) / math.log(original))


def _factors(rope: Rope, turned: int) -> Iterator[Tensor]:
    """Yield the tables of rotary factors, float32 ``[turned / 2]`` each."""
    if rope.kind not in _LONG:
        return
    if rope.section.has("attention_factor"):
        rope.section.fault("'attention_factor' is not known for Phi-3")
    for kind, key in (("long", _LONGEST), ("short", _SHORTEST)):
        table = np.array(rope.section.numbers(key, count=turned // 2), dtype=np.float32)
        yield Tensor(name=f"rope_factors_{kind}.weight", shape=table.shape, constant=table)


def _tensors(decoder: Decoder, factors: tuple[Tensor, ...]) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    yield from factors
    fused = decoder.queries + 2 * decoder.keys
    wide, narrow = decoder.intermediate, decoder.hidden
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        for source, rows, columns in (
            ("self_attn.qkv_proj", fused, narrow),
            ("self_attn.o_proj", narrow, decoder.queries),
            ("mlp.gate_up_proj", 2 * wide, narrow),
            ("mlp.down_proj", narrow, wide),
        ):
            yield decoder.take(f"{source}.weight", rows, columns, layer=layer)
