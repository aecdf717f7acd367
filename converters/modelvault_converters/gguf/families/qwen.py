"""Qwen 2, 2.5 and 3: dense models, and the embedders made from them.

Qwen 2 has biases on queries, keys and values. Qwen 3 has none, but norms on the heads of
queries and keys. Embedders have no output.

Source:
    transformers ``Qwen2ForCausalLM``, ``Qwen3ForCausalLM``; llama.cpp ``LLM_ARCH_QWEN2``,
    ``LLM_ARCH_QWEN3``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import read_rope, rope_entries
from modelvault_converters.gguf.families.windows import LEFT_OUT
from modelvault_converters.gguf.tensors import Blueprint, Shapes, Tensor

ARCHITECTURES = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen2Model", "Qwen3Model")

QWEN3_HEAD = 128
"""Width of a Qwen 3 head where the configuration does not say it."""


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of a dense Qwen model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    third = config["architectures"][0].startswith("Qwen3")
    decoder = common.read_decoder(
        values, "qwen3" if third else "qwen2", head=QWEN3_HEAD if third else 0
    )
    rope = read_rope(values, decoder)
    common.check_activation(values, "silu", "swish")
    return decoder.blueprint(
        values,
        (*common.dimension_entries(values, decoder), *rope_entries(decoder, rope)),
        _tensors(decoder),
        warnings=(*lost_window(values), *rope.warnings),
    )


def lost_window(values: Config) -> tuple[str, ...]:
    """Return a warning where the model was made with a sliding window, which is left out."""
    has = values.flag("use_sliding_window", default=False) and values.has("sliding_window")
    return (LEFT_OUT,) if has else ()


def qwen_attention(decoder: Decoder, layer: int) -> Iterator[Tensor]:
    """Yield a block's attention: biases in the second generation, norms in the third."""
    if decoder.architecture.startswith("qwen2"):
        yield from blocks.attention(decoder, layer, bias="qkv")
    else:
        yield from blocks.attention(decoder, layer)
        yield from blocks.head_norms(decoder, layer)


def _tensors(decoder: Decoder) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers):
        yield from blocks.norms(decoder, layer, *blocks.PRE_NORMS)
        yield from qwen_attention(decoder, layer)
        yield from blocks.feed_forward(decoder, layer)
