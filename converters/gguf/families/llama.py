"""Llama and its likes: Llama 1 to 3.x, Mistral, Yi, SOLAR, SmolLM and more.

Source tensors keep their shape. The rows of the query and key projections change places:
Hugging Face keeps the two halves of a rotary pair ``head/2`` apart, llama.cpp side by side.

Source:
    transformers ``LlamaForCausalLM``, ``MistralForCausalLM``; llama.cpp ``LLM_ARCH_LLAMA``.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.gguf.config import Config
from converters.gguf.tensors import Blueprint, Entry, Floats, Part, Tensor
from modelvault.errors import UnsupportedSource

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
ARCHITECTURE = "llama"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The numbers that give every tensor its shape."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head: int
    """Width of one head."""
    vocabulary: int
    tied: bool
    attention_bias: bool
    mlp_bias: bool


def describe(config: Mapping[str, Any]) -> Blueprint:
    """Return the blueprint of a Llama-like model.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    shape = _read_shape(values)
    rope = _read_rope(values)
    warnings = _check_features(values)
    entries = (*_dimensions(values, shape), *_rope_entries(values, rope))
    values.check()
    return Blueprint(
        architecture=ARCHITECTURE,
        entries=entries,
        tensors=tuple(_tensors(shape, rope)),
        vocabulary=shape.vocabulary,
        layers=shape.layers,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        ignored=frozenset(
            f"model.layers.{layer}.self_attn.rotary_emb.inv_freq" for layer in range(shape.layers)
        ),
        tied=shape.tied,
        warnings=warnings,
    )


def _read_shape(values: Config) -> Shape:
    hidden = values.integer("hidden_size")
    heads = values.integer("num_attention_heads")
    if not values.has("head_dim") and hidden % heads:
        values.fault(f"{hidden} columns do not divide into {heads} heads")
    shape = Shape(
        layers=values.integer("num_hidden_layers"),
        hidden=hidden,
        intermediate=values.integer("intermediate_size"),
        heads=heads,
        kv_heads=values.integer("num_key_value_heads", default=heads),
        head=values.integer("head_dim", default=max(hidden // heads, 1)),
        vocabulary=values.integer("vocab_size"),
        tied=values.flag("tie_word_embeddings", default=False),
        attention_bias=values.flag("attention_bias", default=False),
        mlp_bias=values.flag("mlp_bias", default=False),
    )
    if shape.layers > 1024:
        values.fault(f"{shape.layers} layers are more than any model has")
    if shape.head % 2 or shape.heads % shape.kv_heads:
        values.fault(f"{shape.heads} heads of {shape.head} cannot share {shape.kv_heads} key heads")
    values.check()  # what follows counts with these numbers
    return shape


def _check_features(values: Config) -> tuple[str, ...]:
    """Refuse what the architecture cannot express; return what the user should know."""
    activation = values.text("hidden_act", default="silu")
    if activation not in ("silu", "swish"):
        values.fault(
            f"activation '{activation:.40}': llama.cpp computes silu for this architecture"
        )
    if values.has("sliding_window"):
        warning = (
            "the sliding window of config.json has no place in a GGUF of this architecture: "
            "llama.cpp attends to the whole context"
        )
        return (warning,)
    return ()


def _dimensions(values: Config, shape: Shape) -> Iterator[Entry]:
    def number(key: str, value: int) -> Entry:
        return Entry(key=f"{ARCHITECTURE}.{key}", kind="u32", value=value)

    yield number("block_count", shape.layers)
    yield number("context_length", values.integer("max_position_embeddings"))
    yield number("embedding_length", shape.hidden)
    yield number("feed_forward_length", shape.intermediate)
    yield number("attention.head_count", shape.heads)
    yield number("attention.head_count_kv", shape.kv_heads)
    yield Entry(
        key=f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon",
        kind="f32",
        value=values.number("rms_norm_eps", default=1e-6),
    )
    if values.has("head_dim"):
        yield number("attention.key_length", shape.head)
        yield number("attention.value_length", shape.head)
    yield number("vocab_size", shape.vocabulary)
    yield number("rope.dimension_count", shape.head)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary position encoding, from ``rope_parameters`` or the older ``rope_scaling``."""

    kind: str
    theta: float
    section: Config
    original_context: int


def _read_rope(values: Config) -> Rope:
    modern = values.has("rope_parameters")
    section = values.section("rope_parameters" if modern else "rope_scaling")
    theta = values.number("rope_theta", default=10000.0)
    return Rope(
        kind=section.text("rope_type" if section.has("rope_type") else "type", default="default"),
        theta=section.number("rope_theta", default=theta),
        section=section,
        original_context=section.integer(
            "original_max_position_embeddings",
            default=values.integer("original_max_position_embeddings", default=8192),
        ),
    )


def _rope_entries(values: Config, rope: Rope) -> Iterator[Entry]:
    yield Entry(key=f"{ARCHITECTURE}.rope.freq_base", kind="f32", value=rope.theta)
    if rope.kind in ("default", "llama3"):
        return  # llama3 needs no keys: its factors are a tensor
    if rope.kind not in ("linear", "yarn"):
        values.fault(f"rotary scaling of type '{rope.kind:.40}' is not known for this architecture")
        return
    scaling = f"{ARCHITECTURE}.rope.scaling"
    yield Entry(key=f"{scaling}.type", kind="string", value=rope.kind)
    yield Entry(key=f"{scaling}.factor", kind="f32", value=rope.section.number("factor"))
    if rope.kind == "yarn":
        for key in ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"):
            if rope.section.has(key):
                rope.section.fault(f"'{key}' is not known for this architecture")
        context = rope.section.integer("original_max_position_embeddings")
        yield Entry(key=f"{scaling}.original_context_length", kind="u32", value=context)


def _tensors(shape: Shape, rope: Rope) -> Iterator[Tensor]:
    yield _same("token_embd.weight", "model.embed_tokens.weight", shape.vocabulary, shape.hidden)
    yield _same("output_norm.weight", "model.norm.weight", shape.hidden)
    if not shape.tied:
        yield _same("output.weight", "lm_head.weight", shape.vocabulary, shape.hidden)
    if rope.kind == "llama3":
        factors = _llama3_factors(rope, shape.head)
        yield Tensor(name="rope_freqs.weight", shape=factors.shape, constant=factors)
    for layer in range(shape.layers):
        yield from _layer(shape, f"blk.{layer}.", f"model.layers.{layer}.")


def _layer(shape: Shape, to: str, at: str) -> Iterator[Tensor]:
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    yield _same(f"{to}attn_norm.weight", f"{at}input_layernorm.weight", shape.hidden)
    yield _same(f"{to}ffn_norm.weight", f"{at}post_attention_layernorm.weight", shape.hidden)
    yield _rotary(f"{to}attn_q.weight", f"{at}self_attn.q_proj.weight", shape, queries)
    yield _rotary(f"{to}attn_k.weight", f"{at}self_attn.k_proj.weight", shape, keys)
    yield _same(f"{to}attn_v.weight", f"{at}self_attn.v_proj.weight", keys, shape.hidden)
    yield _same(f"{to}attn_output.weight", f"{at}self_attn.o_proj.weight", shape.hidden, queries)
    wide, narrow = shape.intermediate, shape.hidden
    yield _same(f"{to}ffn_gate.weight", f"{at}mlp.gate_proj.weight", wide, narrow)
    yield _same(f"{to}ffn_up.weight", f"{at}mlp.up_proj.weight", wide, narrow)
    yield _same(f"{to}ffn_down.weight", f"{at}mlp.down_proj.weight", narrow, wide)
    if shape.attention_bias:
        order = _pairs(shape.head)
        yield _same(f"{to}attn_q.bias", f"{at}self_attn.q_proj.bias", queries, order=order)
        yield _same(f"{to}attn_k.bias", f"{at}self_attn.k_proj.bias", keys, order=order)
        yield _same(f"{to}attn_v.bias", f"{at}self_attn.v_proj.bias", keys)
        yield _same(f"{to}attn_output.bias", f"{at}self_attn.o_proj.bias", shape.hidden)
    if shape.mlp_bias:
        yield _same(f"{to}ffn_gate.bias", f"{at}mlp.gate_proj.bias", wide)
        yield _same(f"{to}ffn_up.bias", f"{at}mlp.up_proj.bias", wide)
        yield _same(f"{to}ffn_down.bias", f"{at}mlp.down_proj.bias", narrow)


def _same(name: str, source: str, *shape: int, order: tuple[int, ...] = ()) -> Tensor:
    part = Part(name=source, shape=shape, permutation=order)
    return Tensor(name=name, shape=shape, parts=(part,))


def _rotary(name: str, source: str, shape: Shape, rows: int) -> Tensor:
    return _same(name, source, rows, shape.hidden, order=_pairs(shape.head))


def _pairs(head: int) -> tuple[int, ...]:
    """Return the order of a head's rows: 0, head/2, 1, head/2 + 1 and so on."""
    half = head // 2
    return tuple(index // 2 + (index % 2) * half for index in range(head))


def _llama3_factors(rope: Rope, head: int) -> Floats:
    """Return by how much each rotary frequency is divided, float32 ``[head / 2]``.

    Source:
        transformers ``_compute_llama3_parameters``; computed in float32 as there.
    """
    factor = rope.section.number("factor")
    low, high = rope.section.number("low_freq_factor"), rope.section.number("high_freq_factor")
    rope.section.check()
    if not 0 < low < high:
        raise UnsupportedSource(f"config.json: rotary frequency factors {low} and {high}")
    exponents = np.arange(0, head, 2, dtype=np.float32) / np.float32(head)
    frequencies = np.float32(1) / np.power(np.float32(rope.theta), exponents)
    wavelengths = np.float32(2 * math.pi) / frequencies
    smooth = (np.float32(rope.original_context) / wavelengths - low) / (high - low)
    with np.errstate(divide="ignore"):  # outside the band the value is not taken
        between = 1 / ((1 - smooth) / factor + smooth)
    long = wavelengths > rope.original_context / low
    short = wavelengths < rope.original_context / high
    return np.where(short, 1.0, np.where(long, factor, between)).astype(np.float32)
