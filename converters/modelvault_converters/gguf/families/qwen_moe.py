"""Qwen 1.5, 2 and 3 as mixtures of experts.

Qwen 2 adds to the chosen experts one that every token passes, behind a gate of its own.

Source:
    transformers ``Qwen2MoeForCausalLM``, ``Qwen3MoeForCausalLM``; llama.cpp
    ``LLM_ARCH_QWEN2MOE``, ``LLM_ARCH_QWEN3MOE``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.experts import Mixture, read_mixture, stacked
from modelvault_converters.gguf.families.qwen import lost_window, qwen_attention
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM")


def describe(config: Mapping[str, Any], shapes: Shapes) -> Blueprint:
    """Return the blueprint of a Qwen mixture of experts.

    Args:
        config: ``config.json``.
        shapes: Shapes of the stored tensors.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    third = config["architectures"] == ["Qwen3MoeForCausalLM"]
    decoder = common.read_decoder(values, "qwen3moe" if third else "qwen2moe")
    mixture = read_mixture(
        values, "num_experts", "num_local_experts", width="moe_intermediate_size"
    )
    shared = 0 if third else values.integer("shared_expert_intermediate_size")
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    if values.has_items("mlp_only_layers") or values.integer("decoder_sparse_step", default=1) != 1:
        values.fault("some blocks have no experts, which llama.cpp cannot express here")
    return decoder.blueprint(
        values,
        _entries(values, decoder, mixture, shared, rope),
        _tensors(decoder, mixture, shared, shapes),
        experts=mixture.experts,
        warnings=(
            *lost_window(values),
            *_router_warnings(values, normalised=third),
            *rope.warnings,
        ),
    )


def _router_warnings(values: Config, *, normalised: bool) -> tuple[str, ...]:
    """Return a warning where the runtime weighs the chosen experts in another way."""
    if values.flag("norm_topk_prob", default=False) == normalised:
        return ()
    does = "makes the weights of the chosen experts sum to one" if normalised else "does not"
    warning = (
        f"config.json: 'norm_topk_prob' is {str(not normalised).lower()}, but llama.cpp always "
        f"{does} for this architecture: answers will differ"
    )
    return (warning,)


def _entries(
    values: Config, decoder: Decoder, mixture: Mixture, shared: int, rope: Rope
) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder)
    yield from rope_entries(decoder, rope)
    yield from mixture.entries(decoder)
    yield decoder.number("expert_feed_forward_length", mixture.width)
    if shared:
        yield decoder.number("expert_shared_feed_forward_length", shared)


def _tensors(decoder: Decoder, mixture: Mixture, shared: int, shapes: Shapes) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        yield from qwen_attention(decoder, layer)
        yield from stacked(decoder, mixture, layer, shapes)
        if shared:
            yield from blocks.feed_forward(
                decoder, layer, width=shared, source="mlp.shared_expert."
            )
            yield decoder.take("mlp.shared_expert_gate.weight", 1, decoder.hidden, layer=layer)
