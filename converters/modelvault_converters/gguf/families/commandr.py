"""Command-R, Command-R+ and Command R7B: attention and feed-forward side by side, after one norm.

The checkpoints turn neighbouring columns, as llama.cpp does for these architectures, so no row
changes its place. Norms are true layer norms without a bias. In the second generation (R7B,
Command A) three of four blocks see a window, and positions turn in these alone.

Source:
    transformers ``CohereForCausalLM``, ``Cohere2ForCausalLM``; llama.cpp ``LLM_ARCH_COMMAND_R``,
    ``LLM_ARCH_COHERE2``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import Rope, read_rope, rotary_columns
from modelvault_converters.gguf.families.windows import window_warnings
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("CohereForCausalLM", "Cohere2ForCausalLM")

_PLUS_LAYERS = 64
"""Layers from which llama.cpp takes a model for Command-R+, which norms queries and keys."""

_THETA = {"command-r": 500000.0, "cohere2": 10000.0}
"""Base of the rotary encoding where the configuration does not say it."""

_PERIOD = 4
"""Every so many blocks of the second generation one sees the whole context, in the runtime."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a Command-R model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    second = config["architectures"] == ["Cohere2ForCausalLM"]
    decoder = common.read_decoder(values, "cohere2" if second else "command-r", tied=True)
    rope = read_rope(values, decoder, theta=_THETA[decoder.architecture])
    common.check_activation(values, "silu", "swish")
    common.refuse_biases(values, "attention_bias")
    plus = decoder.layers >= _PLUS_LAYERS and not second
    if values.flag("use_qk_norm", default=False) is not plus:
        values.fault(
            f"{decoder.layers} layers and 'use_qk_norm' do not go together: llama.cpp expects "
            f"these norms from {_PLUS_LAYERS} layers of Command-R on, as in Command-R+"
        )
    return decoder.blueprint(
        values,
        _entries(values, decoder, rope),
        _tensors(values, decoder),
        warnings=window_warnings(values, decoder, period=_PERIOD) if second else (),
    )


def _entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    # The shorter number stands for what older checkpoints of 128k were first served with.
    names = ("model_max_length", "max_position_embeddings")
    context = names[decoder.architecture == "cohere2" :]
    yield from common.dimension_entries(
        values, decoder, norm="layer", epsilon=1e-5, context=context
    )
    yield decoder.real("rope.freq_base", rope.theta)
    yield decoder.real("logit_scale", values.number("logit_scale", default=0.0625))
    yield decoder.text("rope.scaling.type", "none")
    if decoder.architecture == "cohere2":
        window = values.integer("sliding_window", default=4096)
        yield decoder.number("attention.sliding_window", window)
        yield decoder.number("vocab_size", decoder.vocabulary)
        width = decoder.hidden // decoder.heads
        turned = rotary_columns(values, rope, width, keys=("rotary_pct",))
        yield decoder.number("rope.dimension_count", turned)


def _tensors(values: Config, decoder: Decoder) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS[:1])
        yield from blocks.attention(decoder, layer)
        if values.flag("use_qk_norm", default=False):
            queries, keys = (decoder.heads, decoder.head), (decoder.kv_heads, decoder.head)
            yield from blocks.head_norms(decoder, layer, queries=queries, keys=keys)
        yield from blocks.feed_forward(decoder, layer)
