"""K-EXAONE: EXAONE 4's attention, and experts as DeepSeek V3 chooses them.

Three blocks of four see a window, and only in those positions turn. Norms come before attention
and feed-forward. Blocks beyond ``num_hidden_layers`` predict further tokens: they are carried, and
the runtime skips them.

Source:
    transformers ``ExaoneMoeForCausalLM``; llama.cpp ``LLM_ARCH_EXAONE_MOE``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gguf import ExpertGatingFuncType as GatingFunction

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder, same
from modelvault_converters.gguf.families.experts import (
    Mixture,
    choice_entries,
    correction,
    read_mixture,
    stacked,
)
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries, rope_tensors
from modelvault_converters.gguf.families.windows import pattern_entries, read_pattern
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM")

_PERIOD = 4
_AHEAD = "mtp."
_JOINTS = {"fc": "eh_proj", "pre_fc_norm_embedding": "enorm", "pre_fc_norm_hidden": "hnorm",
           "norm": "shared_head_norm"}  # fmt: skip
"""Tensor beside the blocks that predict ahead → GGUF's name of it within each of them."""


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
    """Return the blueprint of a K-EXAONE model.

    Args:
        config: ``config.json``.
        shapes: Shapes of the stored tensors.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "exaone-moe")
    has_ahead = any(name.startswith(_AHEAD) for name in shapes)
    model = _Model(
        decoder=decoder,
        mixture=read_mixture(
            values, "num_local_experts", "num_experts", width="moe_intermediate_size"
        ),
        dense=_read_dense(values, decoder),
        shared=values.integer("num_shared_experts", default=1),
        ahead=values.integer("num_nextn_predict_layers", default=0, least=0) * has_ahead,
    )
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    if decoder.tied:
        values.fault("'tie_word_embeddings' is true: llama.cpp wants an output of its own here")
    blueprint = decoder.blueprint(
        values,
        _entries(values, model, rope),
        _tensors(model, rope, shapes),
        experts=model.mixture.experts,
        ignored=(name for name in shapes if name.startswith(_AHEAD) and not model.ahead),
        warnings=rope.warnings,
    )
    return replace(blueprint, layers=decoder.layers + model.ahead)


def _read_dense(values: Config, decoder: Decoder) -> int:
    """Return how many blocks at the start have no experts; note them elsewhere."""
    first = values.integer(
        "first_k_dense_replace", "first_last_k_dense_replace", default=1, least=0
    )
    kinds = values.texts("mlp_layer_types")
    count = len(kinds) - len([kind for kind in kinds if kind == "sparse"]) if kinds else first
    usual = tuple("dense" if layer < count else "sparse" for layer in range(decoder.layers))
    if kinds not in ((), usual):
        values.fault("'mlp_layer_types' has blocks without experts behind others with them")
    return count


def _entries(values: Config, model: _Model, rope: Rope) -> Iterator[Entry]:
    decoder, mixture = model.decoder, model.mixture
    whole = replace(decoder, layers=decoder.layers + model.ahead)
    yield from common.dimension_entries(values, whole, epsilon=1e-5)
    yield from mixture.entries(decoder)
    yield from choice_entries(values, decoder, gate=GatingFunction.SIGMOID, scale=2.5, norm=True)
    yield decoder.number("vocab_size", decoder.vocabulary)
    yield from pattern_entries(values, decoder, read_pattern(values, decoder, period=_PERIOD))
    yield decoder.number("expert_feed_forward_length", mixture.width)
    yield decoder.number("expert_shared_count", model.shared)
    yield decoder.number("expert_shared_feed_forward_length", mixture.width * model.shared)
    yield decoder.number("leading_dense_block_count", model.dense)
    yield decoder.number("nextn_predict_layers", model.ahead)
    yield decoder.text("rope.scaling.type", "none")
    yield from rope_entries(decoder, rope)


def _tensors(model: _Model, rope: Rope, shapes: Shapes) -> Iterator[Tensor]:
    decoder = model.decoder
    yield from blocks.frame(decoder)
    yield from rope_tensors(decoder, rope)
    for layer in range(decoder.layers):
        yield from _block(decoder, layer)
        if layer < model.dense:
            yield from blocks.feed_forward(decoder, layer)
            continue
        yield from stacked(decoder, model.mixture, layer, shapes)
        yield from correction(decoder, model.mixture, layer, shapes)
        width = model.mixture.width * model.shared
        yield from blocks.feed_forward(decoder, layer, width=width, source="mlp.shared_experts.")
    for number in range(model.ahead):
        yield from _predicting(decoder, number)


def _block(decoder: Decoder, layer: int) -> Iterator[Tensor]:
    yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
    yield from blocks.attention(decoder, layer)
    yield from blocks.head_norms(decoder, layer)


def _predicting(decoder: Decoder, number: int) -> Iterator[Tensor]:
    """Yield a block that predicts ahead, and what joins it to the model."""
    layer, hidden = decoder.layers + number, decoder.hidden
    for tensor in (*_block(decoder, layer), *blocks.feed_forward(decoder, layer)):
        (part,) = tensor.parts
        name = part.name.replace(f"model.layers.{layer}.", f"{_AHEAD}layers.{number}.")
        yield replace(tensor, parts=(replace(part, name=name),))
    for source, name in _JOINTS.items():
        shape = (hidden, 2 * hidden) if source == "fc" else (hidden,)
        joint = same(f"blk.{layer}.nextn.{name}.weight", f"{_AHEAD}{source}.weight", *shape)
        yield replace(joint, parts=(replace(joint.parts[0], copied=True),))
