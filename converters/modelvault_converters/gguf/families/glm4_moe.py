"""GLM-4.5, 4.6 and 4.7, and Solar Open: many small experts behind scores that are corrected.

Blocks beyond ``num_hidden_layers`` predict further tokens: they are carried, and the runtime may
use them.

Source:
    transformers ``Glm4MoeForCausalLM``, ``SolarOpenForCausalLM``; llama.cpp ``LLM_ARCH_GLM4_MOE``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gguf import ExpertGatingFuncType as GatingFunction

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.experts import (
    Mixture,
    choice_entries,
    correction,
    read_mixture,
    stacked,
)
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries, rotary_columns
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

_SOLAR = "SolarOpenForCausalLM"
ARCHITECTURES = ("Glm4MoeForCausalLM", _SOLAR)

_END = "<|endoftext|>"
_SPECIAL = {
    "Glm4MoeForCausalLM": {
        "bos": "[gMASK]", "eot": "<|user|>", "unknown": _END, "eom": "<|observation|>",
    },
    _SOLAR: {"eos": _END, "eot": _END, "unknown": "<unk>", "bos": "<|startoftext|>"},
}  # fmt: skip
_JOINTS = {
    "eh_proj": 2, "enorm": 0, "hnorm": 0, "embed_tokens": 1, "shared_head.head": 1,
    "shared_head.norm": 0,
}  # fmt: skip
"""Tensor of a block that predicts ahead → its shape: a norm, a row a token, or two inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    decoder: Decoder
    mixture: Mixture
    dense: int
    """Blocks at the start that have no experts."""
    shared: int
    """Experts that every token passes."""
    ahead: int
    """Blocks that predict further tokens."""


def describe(config: Mapping[str, Any], shapes: Shapes) -> Blueprint:
    """Return the blueprint of a GLM-4.5 or Solar Open model.

    Args:
        config: ``config.json``.
        shapes: Shapes of the stored tensors.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    is_solar = config["architectures"] == [_SOLAR]
    # Every block of Solar Open has experts, so its class does without the width of others.
    width = {"intermediate_size": config.get("moe_intermediate_size")} if is_solar else {}
    values = Config({**width, **config})
    decoder = common.read_decoder(values, "glm4moe", head=128 if is_solar else 0)
    ahead = values.integer("num_nextn_predict_layers", default=0, least=0)
    model = _Model(
        decoder=decoder,
        mixture=read_mixture(values, "n_routed_experts", width="moe_intermediate_size"),
        dense=values.integer("first_k_dense_replace", default=0 if is_solar else 1, least=0),
        shared=values.integer("n_shared_experts", default=1),
        ahead=ahead if f"{decoder.source(decoder.layers)}eh_proj.weight" in shapes else 0,
    )
    rope = read_rope(values, decoder, theta=1e6 if is_solar else 10000.0)
    common.check_activation(values, "silu", "swish")
    blueprint = decoder.blueprint(
        values,
        _entries(values, model, rope, share=1.0 if is_solar else 0.5),
        _tensors(values, model, shapes),
        experts=model.mixture.experts,
        special=_SPECIAL[config["architectures"][0]],
        warnings=rope.warnings,
    )
    return replace(blueprint, layers=decoder.layers + model.ahead)


def _entries(values: Config, model: _Model, rope: Rope, *, share: float) -> Iterator[Entry]:
    decoder, mixture = model.decoder, model.mixture
    whole = replace(decoder, layers=decoder.layers + model.ahead)
    yield from common.dimension_entries(values, whole, epsilon=1e-5)
    yield from mixture.entries(decoder)
    yield from choice_entries(values, decoder, gate=GatingFunction.SIGMOID, scale=1.0, norm=True)
    columns = rotary_columns(values, rope, decoder.head, share=share)
    yield decoder.number("rope.dimension_count", columns)
    yield from rope_entries(decoder, rope)
    yield decoder.number("expert_feed_forward_length", mixture.width)
    yield decoder.number("expert_shared_count", model.shared)
    yield decoder.number("leading_dense_block_count", model.dense)
    if values.has("num_nextn_predict_layers"):
        yield decoder.number("nextn_predict_layers", model.ahead)


def _tensors(values: Config, model: _Model, shapes: Shapes) -> Iterator[Tensor]:
    decoder = model.decoder
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers + model.ahead):
        yield from _attention(values, decoder, layer)
        if layer < model.dense:
            yield from blocks.feed_forward(decoder, layer)
            continue
        yield from stacked(decoder, model.mixture, layer, shapes)
        yield from correction(decoder, model.mixture, layer, shapes)
        width = model.mixture.width * model.shared
        yield from blocks.feed_forward(decoder, layer, width=width, source="mlp.shared_experts.")
        if layer >= decoder.layers:
            yield from _joints(decoder, layer, shapes)


def _attention(values: Config, decoder: Decoder, layer: int) -> Iterator[Tensor]:
    yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
    bias = "qkv" if values.flag("attention_bias", default=False) else ""
    yield from blocks.attention(decoder, layer, bias=bias)
    if values.flag("use_qk_norm", default=False):
        yield from blocks.head_norms(decoder, layer)


def _joints(decoder: Decoder, layer: int, shapes: Shapes) -> Iterator[Tensor]:
    """Yield what joins a block that predicts ahead to the model; some share the model's own."""
    hidden = decoder.hidden
    sizes = ((hidden,), (decoder.vocabulary, hidden), (hidden, 2 * hidden))
    for source, size in _JOINTS.items():
        if f"{decoder.source(layer)}{source}.weight" in shapes:
            yield decoder.take(f"{source}.weight", *sizes[size], layer=layer)
