"""Granite 3 and 4 without experts: Llama with four scales of its own.

Source:
    transformers ``GraniteForCausalLM``; llama.cpp ``LLM_ARCH_GRANITE``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("GraniteForCausalLM",)

_SCALES = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}
"""Name in ``config.json`` → key; each is 1 where it is not said."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a Granite model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "granite")
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    return decoder.blueprint(
        values,
        _entries(values, decoder, rope),
        _tensors(values, decoder),
        warnings=rope.warnings,
    )


def _entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder)
    yield decoder.number("vocab_size", decoder.vocabulary)
    yield decoder.number("rope.dimension_count", decoder.head)
    yield from rope_entries(decoder, rope)
    for name, key in _SCALES.items():
        scale = values.number(name, default=1.0)
        if scale == 0:
            values.fault(f"'{name}' is 0, which would silence the model")
        yield decoder.real(key, scale)


def _tensors(values: Config, decoder: Decoder) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    bias = "qkvo" if values.flag("attention_bias", default=False) else ""
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        yield from blocks.attention(decoder, layer, bias=bias, order=blocks.pairs(decoder.head))
        yield from blocks.feed_forward(decoder, layer, bias=values.flag("mlp_bias", default=False))
