"""gpt-oss of OpenAI: attention with sinks, windows in every other block, experts with biases.

Released experts are MXFP4 and stay so in every type, bit for bit. Gate and up come as two tensors
from ``mxfp4``, which takes them apart.

Source:
    transformers ``GptOssForCausalLM``; llama.cpp ``LLM_ARCH_OPENAI_MOE``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.experts import Mixture, read_mixture
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries
from modelvault_converters.gguf.families.windows import window_warnings
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("GptOssForCausalLM",)

_PERIOD = 2
_LIMIT = 7.0
"""Beyond which the runtime cuts what goes into the experts' activation."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a gpt-oss model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "gpt-oss", head=64)
    mixture = read_mixture(values, "num_local_experts", width="intermediate_size")
    rope = read_rope(values, decoder, theta=150000.0)
    common.check_activation(values, "silu", "swish")
    if values.number("swiglu_limit", default=_LIMIT) != _LIMIT:
        values.fault(f"'swiglu_limit' is not {_LIMIT}, which llama.cpp computes with")
    if not values.flag("attention_bias", default=True) or decoder.tied:
        values.fault("llama.cpp wants biases of attention and an output of its own here")
    return decoder.blueprint(
        values,
        _entries(values, decoder, mixture, rope),
        _tensors(decoder, mixture),
        experts=mixture.experts,
        warnings=(*window_warnings(values, decoder, period=_PERIOD), *rope.warnings),
    )


def _entries(values: Config, decoder: Decoder, mixture: Mixture, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder, epsilon=1e-5)
    yield from mixture.entries(decoder)
    yield from rope_entries(decoder, rope)
    yield decoder.number("attention.sliding_window", values.integer("sliding_window", default=128))
    yield decoder.number("expert_feed_forward_length", mixture.width)


def _tensors(decoder: Decoder, mixture: Mixture) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        yield from blocks.attention(decoder, layer, bias="qkvo")
        sinks = f"blk.{layer}.attn_sinks.weight"
        yield decoder.take("self_attn.sinks", decoder.heads, layer=layer, name=sinks)
        yield from _experts(decoder, mixture, layer)


def _experts(decoder: Decoder, mixture: Mixture, layer: int) -> Iterator[Tensor]:
    count, wide, narrow = mixture.experts, mixture.width, decoder.hidden
    yield decoder.take("mlp.router.weight", count, narrow, layer=layer)
    yield decoder.take("mlp.router.bias", count, layer=layer)
    for role, rows, columns in (
        ("gate", wide, narrow),
        ("up", wide, narrow),
        ("down", narrow, wide),
    ):
        source, name = f"mlp.experts.{role}_proj", f"blk.{layer}.ffn_{role}_exps"
        yield decoder.take(source, count, rows, columns, layer=layer, name=f"{name}.weight")
        yield decoder.take(f"{source}_bias", count, rows, layer=layer, name=f"{name}.bias")
