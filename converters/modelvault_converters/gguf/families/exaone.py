"""EXAONE 3, 3.5 and 4 of LG AI Research.

EXAONE 3 is Llama under GPT-2's names, and its rows stay where they are. EXAONE 4 norms after
attention and feed-forward, and each head of queries and keys. In its 32 B three blocks of four see
a window, and only in those positions turn, which the runtime knows for 64 blocks alone.

Source:
    https://huggingface.co/LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct (``modeling_exaone.py``);
    transformers ``Exaone4ForCausalLM``; llama.cpp ``LLM_ARCH_EXAONE``, ``LLM_ARCH_EXAONE4``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries, rope_tensors
from modelvault_converters.gguf.families.windows import pattern_entries, read_pattern
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("ExaoneForCausalLM", "Exaone4ForCausalLM")

_OLDER = {
    "num_layers": "num_hidden_layers",
    "activation_function": "hidden_act",
    "layer_norm_epsilon": "rms_norm_eps",
}
"""What EXAONE 3 calls the values of a configuration, and what others do."""

_NAMES = {
    "model.embed_tokens": "transformer.wte",
    "model.norm": "transformer.ln_f",
    "model.layers": "transformer.h",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.o_proj": "attn.attention.out_proj",
    "self_attn": "attn.attention",
    "mlp.gate_proj": "mlp.c_fc_0",
    "mlp.up_proj": "mlp.c_fc_1",
    "mlp.down_proj": "mlp.c_proj",
}
"""What Llama calls a part of a tensor's name, and what EXAONE 3 does."""

_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
_WINDOWED = 64
"""Blocks of the model whose windows the runtime knows."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of an EXAONE 3 or 4 model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    if config["architectures"] == ["ExaoneForCausalLM"]:
        return _describe_third(config)
    values = Config(config)
    decoder = common.read_decoder(values, "exaone4")
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    warnings = list(rope.warnings)
    if values.has("sliding_window") and decoder.layers != _WINDOWED:
        warnings.append(
            f"llama.cpp knows the windows of EXAONE 4 for {_WINDOWED} blocks alone, and this model "
            f"has {decoder.layers}: it attends to the whole context and turns all positions, so "
            "answers will differ"
        )
    return decoder.blueprint(
        values,
        _entries(values, decoder, rope),
        _tensors(decoder, rope),
        warnings=warnings,
    )


def _entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder, epsilon=1e-5)
    yield decoder.number("vocab_size", decoder.vocabulary)
    if values.has("sliding_window"):
        yield from pattern_entries(values, decoder, read_pattern(values, decoder, period=4))
    yield from rope_entries(decoder, rope)


def _tensors(decoder: Decoder, rope: Rope) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    yield from rope_tensors(decoder, rope)
    for layer in range(decoder.layers):
        yield from blocks.attention(decoder, layer)
        yield from blocks.head_norms(decoder, layer)
        yield from blocks.norms(decoder, layer, *_NORMS)
        yield from blocks.feed_forward(decoder, layer)


def _describe_third(config: Mapping[str, Any]) -> Blueprint:
    values = Config({**config, **{key: config[older] for older, key in _OLDER.items()
                                  if config.get(older) is not None}})  # fmt: skip
    decoder = common.read_decoder(values, "exaone")
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    return decoder.blueprint(
        values,
        _third_entries(values, decoder, rope),
        map(_renamed, _third_tensors(decoder, rope)),
        ignored=(
            f"transformer.h.{layer}.attn.attention.rotary.inv_freq"
            for layer in range(decoder.layers)
        ),
        warnings=rope.warnings,
    )


def _third_entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder, epsilon=1e-5)
    # llama.cpp's converter writes this key alone; its runtime wants the one above.
    epsilon = values.number("rms_norm_eps", default=1e-5)
    yield decoder.real("attention.layer_norm_epsilon", epsilon)
    yield decoder.number("rope.dimension_count", decoder.head)
    yield from rope_entries(decoder, rope)


def _third_tensors(decoder: Decoder, rope: Rope) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    yield from rope_tensors(decoder, rope)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        yield from blocks.attention(decoder, layer)
        yield from blocks.feed_forward(decoder, layer)


def _renamed(tensor: Tensor) -> Tensor:
    """Return a tensor of Llama's as EXAONE 3 stores it."""
    parts = []
    for part in tensor.parts:
        name = part.name
        for usual, own in _NAMES.items():
            name = name.replace(usual, own)
        parts.append(replace(part, name=name))
    return replace(tensor, parts=tuple(parts))
