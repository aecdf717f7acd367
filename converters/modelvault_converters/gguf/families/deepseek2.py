"""DeepSeek V2, V2-Lite, V3, Kanana-2 and their likes: latent attention, many small experts.

Keys and values of all heads come out of one short vector a token, which is all that llama.cpp
caches. To compute with it directly, the runtime wants ``kv_b_proj``, which would expand it, in
two halves: for each head the rows that make keys, transposed, and the rows that make values. The
model then has one key head, as wide as the short vector and the rotary part together.

Blocks beyond ``num_hidden_layers`` predict further tokens; the runtime has no use for them.

Source:
    https://arxiv.org/abs/2405.04434, https://arxiv.org/abs/2412.19437; transformers
    ``DeepseekV2ForCausalLM``, ``DeepseekV3ForCausalLM``; llama.cpp ``LLM_ARCH_DEEPSEEK2``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gguf import ExpertGatingFuncType as GatingFunction

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.experts import Mixture, read_mixture, stacked
from modelvault_converters.gguf.families.rope import Rope, read_rope
from modelvault_converters.gguf.tensors import Blueprint, Entry, Part, Shapes, Tensor

ARCHITECTURES = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM")

_V3 = "DeepseekV3ForCausalLM"
_LITE = "a model of 26 or 27 blocks, or of 48 with 128256 tokens (Kanana-2)"
"""By what llama.cpp knows the Lite shape, whose queries have no short vector."""

_GATES = {"softmax": GatingFunction.SOFTMAX, "sigmoid": GatingFunction.SIGMOID}
"""How scores of experts are made → ``expert_gating_func``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Widths of the latent attention, in columns."""

    query: int
    """Of the short vector that queries are made of; 0 where there is none (V2-Lite)."""
    shared: int
    """Of the short vector that keys and values are made of."""
    plain: int
    """Of the part of a key that positions do not turn."""
    rotary: int
    value: int

    @property
    def key(self) -> int:
        """Width of a head's key."""
        return self.plain + self.rotary

    @property
    def rows(self) -> int:
        """Rows that one head takes of ``kv_b_proj``."""
        return self.plain + self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    decoder: Decoder
    latent: Latent
    mixture: Mixture
    dense: int
    """Blocks at the start that have no experts."""
    shared_experts: int
    correction: bool
    """Whether scores are corrected before experts are chosen, as V3 does."""


def describe(config: Mapping[str, Any], shapes: Shapes) -> Blueprint:
    """Return the blueprint of a DeepSeek model.

    Args:
        config: ``config.json``.
        shapes: Shapes of the stored tensors.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    newer = _V3 in config["architectures"]
    decoder = common.read_decoder(values, "deepseek2")
    latent = _read_latent(values)
    mixture = read_mixture(values, "n_routed_experts", width="moe_intermediate_size")
    rope = read_rope(values, decoder)
    model = _Model(
        decoder=decoder,
        latent=latent,
        mixture=mixture,
        dense=values.integer("first_k_dense_replace", default=0, least=0),
        shared_experts=values.integer("n_shared_experts", default=0, least=0),
        correction=newer,
    )
    _check_features(values, decoder, latent)
    entries = (
        *_entries(values, model),
        *_choice_entries(values, decoder, newer=newer),
        *_rope_entries(decoder, latent, rope),
    )
    # The runtime sees one key head; the mixes ask for heads only where there is 'attn_v'.
    return replace(
        decoder.blueprint(
            values,
            entries,
            _tensors(model, shapes),
            experts=mixture.experts,
            ignored=(name for name in shapes if _block(name) >= decoder.layers),
            warnings=_warnings(values, newer=newer),
        ),
        kv_heads=1,
    )


def _read_latent(values: Config) -> Latent:
    return Latent(
        query=values.integer("q_lora_rank") if values.has("q_lora_rank") else 0,
        shared=values.integer("kv_lora_rank"),
        plain=values.integer("qk_nope_head_dim"),
        rotary=values.integer("qk_rope_head_dim"),
        value=values.integer("v_head_dim"),
    )


def _check_features(values: Config, decoder: Decoder, latent: Latent) -> None:
    """Note what the runtime cannot express for this architecture."""
    common.check_activation(values, "silu", "swish")
    common.refuse_biases(values, "attention_bias", "mlp_bias")
    if not values.flag("rope_interleave", default=True):
        values.fault("'rope_interleave' is false: llama.cpp turns neighbours for this architecture")
    if (latent.query == 0) is not _is_lite(decoder):
        values.fault(
            f"{decoder.layers} blocks with {decoder.vocabulary} tokens "
            f"{'and' if latent.query else 'but no'} 'q_lora_rank': llama.cpp expects none in "
            f"{_LITE}, and one in every other"
        )
    if values.integer("moe_layer_freq", default=1) != 1:
        values.fault("'moe_layer_freq' is not 1: llama.cpp wants experts in every later block")


def _is_lite(decoder: Decoder) -> bool:
    return decoder.layers in (26, 27) or (decoder.layers, decoder.vocabulary) == (48, 128256)


def _warnings(values: Config, *, newer: bool) -> tuple[str, ...]:
    if newer or values.integer("topk_group", default=1) == values.integer("n_group", default=1):
        return ()
    warning = (
        "DeepSeek V2 chooses groups of experts by their best expert, llama.cpp by their best two: "
        "some tokens pass other experts"
    )
    return (warning,)


def _entries(values: Config, model: _Model) -> Iterator[Entry]:
    decoder, latent = model.decoder, model.latent
    one_head = replace(decoder, kv_heads=1, head_is_stated=False)
    yield from common.dimension_entries(values, one_head)
    yield from model.mixture.entries(decoder)
    yield decoder.number("vocab_size", decoder.vocabulary)
    yield decoder.number("leading_dense_block_count", model.dense)
    if latent.query:
        yield decoder.number("attention.q_lora_rank", latent.query)
    yield decoder.number("attention.kv_lora_rank", latent.shared)
    yield decoder.number("attention.key_length", latent.shared + latent.rotary)
    yield decoder.number("attention.value_length", latent.shared)
    yield decoder.number("attention.key_length_mla", latent.key)
    yield decoder.number("attention.value_length_mla", latent.value)
    yield decoder.number("expert_feed_forward_length", model.mixture.width)
    yield decoder.number("expert_shared_count", model.shared_experts)


def _choice_entries(values: Config, decoder: Decoder, *, newer: bool) -> Iterator[Entry]:
    """Yield how a token's experts are chosen and weighed."""
    for key, name in (("n_group", "expert_group_count"), ("topk_group", "expert_group_used_count")):
        if values.has(key):
            yield decoder.number(name, values.integer(key))
    gate = values.text("scoring_func", default="sigmoid" if newer else "softmax")
    if gate not in _GATES:
        values.fault(f"'scoring_func' is '{gate:.40}'; llama.cpp knows {', '.join(_GATES)}")
    yield decoder.number("expert_gating_func", _GATES.get(gate, GatingFunction.SOFTMAX))
    scale = values.number("routed_scaling_factor", default=2.5 if newer else 1.0)
    yield decoder.real("expert_weights_scale", scale)
    if values.flag("norm_topk_prob", default=newer):
        yield decoder.flag("expert_weights_norm", value=True)


def _rope_entries(decoder: Decoder, latent: Latent, rope: Rope) -> Iterator[Entry]:
    yield decoder.number("rope.dimension_count", latent.rotary)
    yield decoder.real("rope.freq_base", rope.theta)
    if rope.kind != "yarn":
        return
    section = rope.section
    yield decoder.text("rope.scaling.type", rope.kind)
    yield decoder.real("rope.scaling.factor", section.number("factor"))
    yield decoder.number("rope.scaling.original_context_length", rope.original_context)
    for key in ("beta_fast", "beta_slow"):
        if section.has(key):
            yield decoder.real(f"rope.scaling.yarn_{key}", section.number(key))
    # llama.cpp scales attention by one number where DeepSeek has two, equal in every release.
    scale = section.number("mscale_all_dim")
    if section.has("attention_factor") or section.number("mscale", default=1.0) != scale:
        section.fault("'mscale' is not 'mscale_all_dim': llama.cpp has one scale for both")
    yield decoder.real("rope.scaling.yarn_log_multiplier", 0.1 * scale)


def _tensors(model: _Model, shapes: Shapes) -> Iterator[Tensor]:
    yield from blocks.frame(model.decoder)
    for layer in range(model.decoder.layers):
        yield from blocks.norms(model.decoder, layer, *blocks.PRE_NORMS)
        yield from _attention(model.decoder, model.latent, layer)
        if layer < model.dense:
            yield from blocks.feed_forward(model.decoder, layer)
        else:
            yield from _experts(model, layer, shapes)


def _experts(model: _Model, layer: int, shapes: Shapes) -> Iterator[Tensor]:
    yield from stacked(model.decoder, model.mixture, layer, shapes)
    if model.correction:
        yield model.decoder.take(
            "mlp.gate.e_score_correction_bias",
            model.mixture.experts,
            layer=layer,
            name=f"blk.{layer}.exp_probs_b.bias",
        )
    if model.shared_experts:
        yield from blocks.feed_forward(
            model.decoder,
            layer,
            width=model.shared_experts * model.mixture.width,
            source="mlp.shared_experts.",
        )


def _attention(decoder: Decoder, latent: Latent, layer: int) -> Iterator[Tensor]:
    hidden, queries = decoder.hidden, decoder.heads * latent.key
    shapes: dict[str, tuple[int, ...]] = {"q_proj": (queries, hidden)}
    if latent.query:
        shapes = {
            "q_a_proj": (latent.query, hidden),
            "q_a_layernorm": (latent.query,),
            "q_b_proj": (queries, latent.query),
        }
    shapes |= {
        "kv_a_proj_with_mqa": (latent.shared + latent.rotary, hidden),
        "kv_a_layernorm": (latent.shared,),
        "o_proj": (hidden, decoder.heads * latent.value),
    }
    for source, shape in shapes.items():
        yield decoder.take(f"self_attn.{source}.weight", *shape, layer=layer)
    yield from _halves(decoder, latent, layer)


def _halves(decoder: Decoder, latent: Latent, layer: int) -> Iterator[Tensor]:
    """Yield the key and the value half of ``kv_b_proj``, each head at its place."""
    heads, at = decoder.heads, f"{decoder.source(layer)}self_attn."
    source, shape = f"{at}kv_b_proj.weight", (heads * latent.rows, latent.shared)
    keys = tuple(
        Part(
            name=source,
            shape=shape,
            first=head * latent.rows,
            count=latent.plain,
            transposed=True,
        )
        for head in range(heads)
    )
    values = tuple(
        Part(
            name=source,
            shape=shape,
            first=head * latent.rows + latent.plain,
            count=latent.value,
        )
        for head in range(heads)
    )
    sizes = (heads, latent.shared, latent.plain), (heads, latent.value, latent.shared)
    yield Tensor(name=f"blk.{layer}.attn_k_b.weight", shape=sizes[0], parts=keys)
    yield Tensor(name=f"blk.{layer}.attn_v_b.weight", shape=sizes[1], parts=values)


def _block(name: str) -> int:
    """Return the number of the block a stored tensor belongs to; -1 for none."""
    head, _, rest = name.removeprefix("model.").partition(".")
    number = rest.partition(".")[0]
    return int(number) if head == "layers" and number.isascii() and number.isdecimal() else -1
