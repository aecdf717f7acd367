"""Command-R and Command-R+: attention and feed-forward side by side, after one norm.

The checkpoints turn neighbouring columns, as llama.cpp does for this architecture, so no row
changes its place. Norms are true layer norms without a bias.

Source:
    transformers ``CohereForCausalLM``; llama.cpp ``LLM_ARCH_COMMAND_R``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from converters.gguf.config import Config
from converters.gguf.families import decoder as common
from converters.gguf.families.decoder import Decoder, same
from converters.gguf.families.rope import Rope, read_rope
from converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("CohereForCausalLM",)

_PLUS_LAYERS = 64
"""Layers from which llama.cpp takes a model for Command-R+, which norms queries and keys."""

_THETA = 500000.0
"""Base of the rotary encoding where the configuration does not say it."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a Command-R model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "command-r", tied=True)
    rope = read_rope(values, theta=_THETA)
    common.check_activation(values, "silu", "swish")
    if values.flag("attention_bias", default=False):
        values.fault("'attention_bias' is true: llama.cpp knows no biases for this architecture")
    if values.flag("use_qk_norm", default=False) is not (decoder.layers >= _PLUS_LAYERS):
        values.fault(
            f"{decoder.layers} layers and 'use_qk_norm' do not go together: llama.cpp expects "
            f"these norms from {_PLUS_LAYERS} layers on, as in Command-R+"
        )
    if rope.kind != "default":
        values.fault(f"rotary scaling of type '{rope.kind:.40}' is not known for this architecture")
    entries = tuple(_entries(values, decoder, rope))
    values.check()
    return decoder.blueprint(iter(entries), _tensors(values, decoder))


def _entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    for entry in common.dimension_entries(values, decoder):
        if entry.key.endswith(".context_length"):
            # The shorter number stands for what older checkpoints of 128k were first served with.
            context = values.integer("model_max_length", "max_position_embeddings")
            yield decoder.number("context_length", context)
        elif not entry.key.endswith("layer_norm_rms_epsilon"):
            yield entry
    epsilon = values.number("layer_norm_eps", default=1e-5)
    yield decoder.real("attention.layer_norm_epsilon", epsilon)
    yield decoder.real("rope.freq_base", rope.theta)
    yield decoder.real("logit_scale", values.number("logit_scale", default=0.0625))
    yield decoder.text("rope.scaling.type", "none")


def _tensors(values: Config, decoder: Decoder) -> Iterator[Tensor]:
    yield from common.frame(decoder)
    for layer in range(decoder.layers):
        yield from common.norms(decoder, layer, {"attn_norm": "input_layernorm"})
        yield from common.attention(decoder, layer)
        if values.flag("use_qk_norm", default=False):
            for letter, heads in (("q", decoder.heads), ("k", decoder.kv_heads)):
                source = f"{decoder.source(layer)}self_attn.{letter}_norm.weight"
                yield same(f"blk.{layer}.attn_{letter}_norm.weight", source, heads, decoder.head)
        yield from common.feed_forward(decoder, layer)
