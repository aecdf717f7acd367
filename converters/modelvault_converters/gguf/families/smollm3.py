"""SmolLM3: Llama, but for blocks whose queries and keys no position turns.

The rows of the query and key projections change places as for Llama. Every fourth block has no
rotary encoding, which the runtime knows by itself, so no other pattern can be expressed.

Source:
    transformers ``SmolLM3ForCausalLM``; llama.cpp ``LLM_ARCH_SMOLLM3``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import Rope, read_rope, rope_entries
from modelvault_converters.gguf.families.windows import LEFT_OUT
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("SmolLM3ForCausalLM",)

_PERIOD = 4
"""Every so many blocks positions turn nothing, in the runtime."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a SmolLM3 model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "smollm3", tied=True)
    rope = read_rope(values, decoder, theta=2000000.0)
    common.check_activation(values, "silu", "swish")
    common.refuse_biases(values, "attention_bias", "mlp_bias")
    _check_turns(values, decoder)
    window = values.flag("use_sliding_window", default=False) and values.has("sliding_window")
    return decoder.blueprint(
        values,
        _entries(values, decoder, rope),
        _tensors(decoder),
        warnings=(*((LEFT_OUT,) if window else ()), *rope.warnings),
    )


def _check_turns(values: Config, decoder: Decoder) -> None:
    """Note another pattern of blocks without a rotary encoding than the runtime's."""
    period = values.integer("no_rope_layer_interval", default=_PERIOD)
    turns = [(layer + 1) % period != 0 for layer in range(decoder.layers)]
    if values.has_items("no_rope_layers"):
        count = decoder.layers
        turns = [number != 0 for number in values.numbers("no_rope_layers", count=count)]
    if turns != [(layer + 1) % _PERIOD != 0 for layer in range(decoder.layers)]:
        values.fault(f"'no_rope_layers' is not every {_PERIOD}th block, as llama.cpp has it")


def _entries(values: Config, decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder)
    yield decoder.number("vocab_size", decoder.vocabulary)
    yield decoder.number("rope.dimension_count", decoder.head)
    yield from rope_entries(decoder, rope)


def _tensors(decoder: Decoder) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        yield from blocks.attention(decoder, layer, order=blocks.pairs(decoder.head))
        yield from blocks.feed_forward(decoder, layer)
