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
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder, same
from modelvault_converters.gguf.families.rope import Rope, read_rope
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
    rope = read_rope(values, theta=_THETA[decoder.architecture])
    common.check_activation(values, "silu", "swish")
    if values.flag("attention_bias", default=False):
        values.fault("'attention_bias' is true: llama.cpp knows no biases for this architecture")
    plus = decoder.layers >= _PLUS_LAYERS and not second
    if values.flag("use_qk_norm", default=False) is not plus:
        values.fault(
            f"{decoder.layers} layers and 'use_qk_norm' do not go together: llama.cpp expects "
            f"these norms from {_PLUS_LAYERS} layers of Command-R on, as in Command-R+"
        )
    if rope.kind != "default":
        values.fault(f"rotary scaling of type '{rope.kind:.40}' is not known for this architecture")
    entries = tuple(_entries(values, decoder, rope))
    values.check()
    return decoder.blueprint(
        iter(entries), _tensors(values, decoder), warnings=_warnings(values, decoder)
    )


def _warnings(values: Config, decoder: Decoder) -> tuple[str, ...]:
    kinds = values.texts("layer_types")
    expected = tuple(
        "sliding_attention" if (layer + 1) % _PERIOD else "full_attention"
        for layer in range(decoder.layers)
    )
    if decoder.architecture == "command-r" or kinds in ((), expected):
        return ()
    warning = (
        "config.json: 'layer_types' is not the pattern that llama.cpp takes (one block of "
        f"{_PERIOD} sees the whole context): answers will differ"
    )
    return (warning,)


def _entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    for entry in common.dimension_entries(values, decoder):
        if entry.key.endswith(".context_length"):
            # The shorter number stands for what older checkpoints of 128k were first served with.
            names = ("model_max_length", "max_position_embeddings")
            context = values.integer(*names[decoder.architecture == "cohere2" :])
            yield decoder.number("context_length", context)
        elif not entry.key.endswith("layer_norm_rms_epsilon"):
            yield entry
    epsilon = values.number("layer_norm_eps", default=1e-5)
    yield decoder.real("attention.layer_norm_epsilon", epsilon)
    yield decoder.real("rope.freq_base", rope.theta)
    yield decoder.real("logit_scale", values.number("logit_scale", default=0.0625))
    yield decoder.text("rope.scaling.type", "none")
    if decoder.architecture == "cohere2":
        window = values.integer("sliding_window", default=4096)
        yield decoder.number("attention.sliding_window", window)
        yield decoder.number("vocab_size", decoder.vocabulary)
        part = values.number("rotary_pct", default=1.0)
        if not 0 < part <= 1:
            values.fault(f"'rotary_pct' is {part}")
        turned = int(part * (decoder.hidden // decoder.heads))
        yield decoder.number("rope.dimension_count", turned)


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
