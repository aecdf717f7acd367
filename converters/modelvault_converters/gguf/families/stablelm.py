"""StableLM: layer norms with biases, and a rotary encoding of part of each head.

Source:
    transformers ``StableLmForCausalLM``; llama.cpp ``LLM_ARCH_STABLELM``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder, same
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries
from modelvault_converters.gguf.tensors import Blueprint, Entry, Part, Shapes, Tensor

ARCHITECTURES = ("StableLmForCausalLM", "StableLMEpochForCausalLM")

_ROTARY_SHARE = 0.25
"""Part of a head that positions turn, where the configuration does not say it."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a StableLM model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "stablelm")
    rope = read_rope(values)
    common.check_activation(values, "silu", "swish")
    if rope.kind == "llama3":
        values.fault("rotary scaling of type 'llama3' is not known for this architecture")
    parallel = values.flag("use_parallel_residual", default=False)
    entries = tuple(_entries(values, decoder, rope, parallel=parallel))
    values.check()
    tensors = _tensors(values, decoder, parallel=parallel)
    return decoder.blueprint(iter(entries), tensors, warnings=rope.warnings)


def _entries(values: Config, decoder: Decoder, rope: Rope, *, parallel: bool) -> Iterator[Entry]:
    for entry in common.dimension_entries(values, decoder):
        if not entry.key.endswith("layer_norm_rms_epsilon"):
            yield entry
    epsilon = values.number("layer_norm_eps", default=1e-5)
    yield decoder.real("attention.layer_norm_epsilon", epsilon)
    if (rope.kind, rope.theta) != ("default", 10000.0):
        yield from rope_entries(decoder, rope)  # the runtime's own base is left unsaid
    yield decoder.number("rope.dimension_count", _rotary(values, decoder, rope))
    key = f"{decoder.architecture}.use_parallel_residual"
    yield Entry(key=key, kind="bool", value=parallel)


def _rotary(values: Config, decoder: Decoder, rope: Rope) -> int:
    """Return how many columns of a head positions turn."""
    older = values.number("rope_pct", default=_ROTARY_SHARE)
    share = values.number("partial_rotary_factor", default=older)
    columns = int(decoder.head * rope.section.number("partial_rotary_factor", default=share))
    if not 0 < columns <= decoder.head or columns % 2:
        values.fault(f"a rotary encoding of {columns} of {decoder.head} columns cannot be")
    return max(columns, 2)


def _tensors(values: Config, decoder: Decoder, *, parallel: bool) -> Iterator[Tensor]:
    yield from common.frame(decoder)
    yield same("output_norm.bias", f"{decoder.prefix}norm.bias", decoder.hidden)
    norms = {"attn_norm": "input_layernorm"} if parallel else common.PRE_NORMS
    bias = "qkv" if values.flag("use_qkv_bias", default=False) else ""
    for layer in range(decoder.layers):
        yield from common.norms(decoder, layer, norms)
        for role, source in norms.items():
            name = f"{decoder.source(layer)}{source}.bias"
            yield same(f"blk.{layer}.{role}.bias", name, decoder.hidden)
        yield from common.attention(decoder, layer, bias=bias)
        if values.flag("qk_layernorm", default=False):
            yield from _head_norms(decoder, layer)
        yield from common.feed_forward(decoder, layer)


def _head_norms(decoder: Decoder, layer: int) -> Iterator[Tensor]:
    """Yield the norms that each head of queries and keys has of its own, ``[heads, head]``."""
    for letter, heads in (("q", decoder.heads), ("k", decoder.kv_heads)):
        at = f"{decoder.source(layer)}self_attn.{letter}_layernorm.norms."
        parts = tuple(
            Part(name=f"{at}{number}.weight", shape=(decoder.head,), transposed=True)
            for number in range(heads)
        )
        name = f"blk.{layer}.attn_{letter}_norm.weight"
        yield Tensor(name=name, shape=(heads, decoder.head), parts=parts)
