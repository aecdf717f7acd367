"""GLM-4 (9B and 32B of 0414, and what is made of them).

Four norms go around the two halves of a block, gate and up stay one matrix, and half of each head
is turned, neighbours together.

Source:
    transformers ``Glm4ForCausalLM``; llama.cpp ``LLM_ARCH_GLM4``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries, rotary_columns
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("Glm4ForCausalLM",)

_NORMS = (
    "input_layernorm",
    "post_self_attn_layernorm",
    "post_attention_layernorm",
    "post_mlp_layernorm",
)
_END, _USER = "<|endoftext|>", "<|user|>"


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a dense GLM-4 model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "glm4", states_head=values.has("head_dim"))
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    return decoder.blueprint(
        values,
        _entries(values, decoder, rope),
        _tensors(values, decoder),
        special={"eos": _END, "eot": _USER, "unknown": _END, "bos": _END},
        warnings=rope.warnings,
    )


def _entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder, epsilon=1.5625e-07)
    columns = rotary_columns(values, rope, decoder.head, share=0.5)
    yield decoder.number("rope.dimension_count", columns)
    yield from rope_entries(decoder, rope)


def _tensors(values: Config, decoder: Decoder) -> Iterator[Tensor]:
    bias = "qkv" if values.flag("attention_bias", default=True) else ""
    wide, narrow = decoder.intermediate, decoder.hidden
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *_NORMS)
        yield from blocks.attention(decoder, layer, bias=bias)
        yield decoder.take("mlp.gate_up_proj.weight", 2 * wide, narrow, layer=layer)
        yield decoder.take("mlp.down_proj.weight", narrow, wide, layer=layer)
