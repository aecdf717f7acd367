"""Gemma 2 and Gemma 3 (its text part).

The Hub stores the weights of norms less one. Four norms go around the two halves of a block;
Gemma 3 also norms the heads of queries and keys. Most blocks see a window only: in Gemma 2 every
other, in Gemma 3 five of six, with a rotary base of their own. The output always shares the
embedding's weights.

Source:
    transformers ``Gemma2ForCausalLM``, ``Gemma3ForCausalLM``; llama.cpp ``LLM_ARCH_GEMMA2``,
    ``LLM_ARCH_GEMMA3``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import FULL, LOCAL, Rope, read_rope, rope_entries
from modelvault_converters.gguf.families.windows import window_warnings
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = (
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
)

_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
_DEFAULTS: dict[str, dict[str, object]] = {
    "Gemma2ForCausalLM": {
        "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 8192, "sliding_window": 4096,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 256,
    },
    "Gemma3ForCausalLM": {
        "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 131072, "sliding_window": 4096,
        "query_pre_attn_scalar": 256,
    },
}  # fmt: skip
"""What transformers takes where a configuration is silent; Google's own leave much unsaid."""

_VISION = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.",
           "model.multi_modal_projector.")  # fmt: skip
_LARGEST_LAYERS = {"gemma2": 46, "gemma3": 62}
"""Blocks of the 27 B models, whose attention llama.cpp scales by ``hidden / heads``."""
_PERIODS = {"gemma2": 2, "gemma3": 6}
"""Every so many blocks one sees the whole context, in the runtime."""

_THETA = {"gemma2": 10000.0, "gemma3": 1e6}


def describe(config: Mapping[str, Any], shapes: Shapes) -> Blueprint:
    """Return the blueprint of a Gemma model.

    Args:
        config: ``config.json``.
        shapes: Shapes of the stored tensors.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    second = config["architectures"] == ["Gemma2ForCausalLM"]
    values = _read_values(config, second=second)
    decoder = common.read_decoder(values, "gemma2" if second else "gemma3", tied=True)
    common.check_activation(values, "gelu_pytorch_tanh", key="hidden_activation")
    if not decoder.tied:
        values.fault("the output has weights of its own, which llama.cpp does not know for Gemma")
    rope = read_rope(
        values, decoder, theta=_THETA[decoder.architecture], layers="" if second else FULL
    )
    entries = _gemma2_entries if second else _gemma3_entries
    ignored = {name for name in shapes if name.startswith(_VISION) or name == "lm_head.weight"}
    return decoder.blueprint(
        values,
        entries(values, decoder, rope),
        _tensors(decoder, shapes),
        ignored=ignored,
        warnings=(*_warnings(values, decoder, shapes), *rope.warnings),
    )


def _read_values(config: Mapping[str, Any], *, second: bool) -> Config:
    """Return the values of the text part, with what is unsaid filled in."""
    defaults = _DEFAULTS["Gemma2ForCausalLM" if second else "Gemma3ForCausalLM"]
    text = config.get("text_config")
    said = {**config, **text} if isinstance(text, dict) else config
    return Config({**defaults, **{key: item for key, item in said.items() if item is not None}})


def _gemma2_entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder)
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        yield decoder.real(name, values.number(name))
    yield decoder.number("attention.sliding_window", values.integer("sliding_window"))
    if (rope.kind, rope.theta) != ("default", 10000.0):
        yield from rope_entries(decoder, rope)  # the runtime's own base is left unsaid


def _gemma3_entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder)
    if values.has("attn_logit_softcapping"):
        values.fault("'attn_logit_softcapping' is not known for Gemma 3")
    if values.has("final_logit_softcapping"):
        cap = values.number("final_logit_softcapping")
        yield decoder.real("final_logit_softcapping", cap)
    if values.integer("sliding_window_pattern", "_sliding_window_pattern", default=6) != 1:
        yield decoder.number("attention.sliding_window", values.integer("sliding_window"))
    yield from rope_entries(decoder, rope)
    local = read_rope(values, decoder, base="rope_local_base_freq", layers=LOCAL)
    yield decoder.real("rope.freq_base_swa", local.theta)


def _warnings(values: Config, decoder: Decoder, shapes: Shapes) -> Iterator[str]:
    if any(name.startswith(_VISION) for name in shapes):
        yield "the part that sees images is left out: the GGUF is a text model"
    scaled = values.integer("query_pre_attn_scalar")
    largest = decoder.layers == _LARGEST_LAYERS[decoder.architecture]
    used = decoder.hidden // decoder.heads if largest else decoder.head
    if scaled != used:
        yield (
            f"config.json: 'query_pre_attn_scalar' is {scaled}, but llama.cpp computes with "
            f"{used} for a model of {decoder.layers} blocks: answers will differ"
        )
    yield from window_warnings(values, decoder, period=_PERIODS[decoder.architecture])


def _tensors(decoder: Decoder, shapes: Shapes) -> Iterator[Tensor]:
    third = decoder.architecture == "gemma3"
    yield from blocks.frame(decoder, norm=1.0, trimmed=shapes if third else None)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *_NORMS, add=1.0)
        yield from blocks.attention(decoder, layer)
        yield from blocks.feed_forward(decoder, layer)
        if third:
            yield from blocks.head_norms(decoder, layer, add=1.0)
