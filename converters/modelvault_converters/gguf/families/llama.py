"""Llama and its likes: Llama 1 to 3.x, Mistral, Mixtral, Yi, SOLAR, SmolLM and more.

Source tensors keep their shape. The rows of the query and key projections change places:
Hugging Face keeps the two halves of a rotary pair ``head/2`` apart, llama.cpp side by side.

Source:
    transformers ``LlamaForCausalLM``, ``MistralForCausalLM``, ``MixtralForCausalLM``;
    llama.cpp ``LLM_ARCH_LLAMA``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.experts import Mixture, Spelling, read_mixture, stacked
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries, rope_tensors
from modelvault_converters.gguf.families.windows import LEFT_OUT
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM")

_MIXTRAL = Spelling(
    router="block_sparse_moe.gate.weight",
    expert="block_sparse_moe.experts.",
    gate="w1",
    up="w3",
    down="w2",
)

_CODE_LLAMA, _CODE_LLAMA_TURN = 32016, 32010
"""Tokens of Code Llama, by which llama.cpp knows it, and the one that ends its infilling."""


def describe(config: Mapping[str, Any], shapes: Shapes) -> Blueprint:
    """Return the blueprint of a Llama-like model.

    Args:
        config: ``config.json``.
        shapes: Shapes of the stored tensors.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    # transformers fills the width of a head in for these two, and llama.cpp reads it from there.
    fills = config["architectures"][0] in ("LlamaForCausalLM", "MistralForCausalLM")
    decoder = common.read_decoder(values, "llama", states_head=fills)
    mixture = None
    if values.has("num_local_experts"):
        mixture = read_mixture(values, "num_local_experts", width="intermediate_size")
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    window = (LEFT_OUT,) if values.has("sliding_window") else ()
    return decoder.blueprint(
        values,
        _entries(values, decoder, rope, mixture),
        _tensors(values, decoder, rope, mixture, shapes),
        experts=mixture.experts if mixture else 0,
        special={"eot": _CODE_LLAMA_TURN} if decoder.vocabulary == _CODE_LLAMA else {},
        warnings=(*window, *rope.warnings),
    )


def _entries(
    values: Config, decoder: Decoder, rope: Rope, mixture: Mixture | None
) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder)
    yield decoder.number("vocab_size", decoder.vocabulary)
    yield decoder.number("rope.dimension_count", decoder.head)
    yield from rope_entries(decoder, rope)
    if mixture:
        yield from mixture.entries(decoder)


def _tensors(
    values: Config, decoder: Decoder, rope: Rope, mixture: Mixture | None, shapes: Shapes
) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    yield from rope_tensors(decoder, rope)
    attention_bias = "qkvo" if values.flag("attention_bias", default=False) else ""
    mlp_bias = values.flag("mlp_bias", default=False)
    order = blocks.pairs(decoder.head)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        yield from blocks.attention(decoder, layer, bias=attention_bias, order=order)
        if mixture:
            yield from stacked(decoder, mixture, layer, shapes, _MIXTRAL)
        else:
            yield from blocks.feed_forward(decoder, layer, bias=mlp_bias)
