"""OLMo 2 and 3: norms after attention and feed-forward, and over all queries and keys at once.

In OLMo 3 most blocks see a window only, and in these positions turn without rotary scaling, which
the runtime knows by itself.

Source:
    transformers ``Olmo2ForCausalLM``, ``Olmo3ForCausalLM``; llama.cpp ``LLM_ARCH_OLMO2``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import blocks
from modelvault_converters.gguf.families import decoder as common
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.families.rope import FULL, LOCAL, Rope, read_rope, rope_entries
from modelvault_converters.gguf.families.windows import read_windows
from modelvault_converters.gguf.tensors import Blueprint, Entry, Shapes, Tensor

ARCHITECTURES = ("Olmo2ForCausalLM", "Olmo3ForCausalLM")

_PERIOD = 4
"""Every so many blocks one sees the whole context, where the configuration does not say it."""

_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of an OLMo 2 or 3 model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "olmo2")
    newer = config["architectures"] == ["Olmo3ForCausalLM"]
    rope = read_rope(values, decoder, layers=FULL if newer else "")
    common.check_activation(values, "silu", "swish")
    common.refuse_biases(values, "attention_bias")
    if decoder.tied:
        values.fault("'tie_word_embeddings' is true: llama.cpp wants an output of its own here")
    entries = _entries(values, decoder, rope, newer=newer)
    return decoder.blueprint(values, entries, _tensors(decoder), warnings=rope.warnings)


def _entries(values: Config, decoder: Decoder, rope: Rope, *, newer: bool) -> Iterator[Entry]:
    yield from common.dimension_entries(values, decoder, epsilon=1e-5)
    yield from rope_entries(decoder, rope)
    if not newer:
        return
    yield decoder.number("attention.sliding_window", values.integer("sliding_window", default=4096))
    local = read_rope(values, decoder, theta=rope.theta, layers=LOCAL)
    yield decoder.real("rope.freq_base_swa", local.theta)
    pattern = read_windows(values, decoder, period=_PERIOD)
    key = f"{decoder.architecture}.attention.sliding_window_pattern"
    yield Entry(key=key, kind="bools", value=pattern)


def _tensors(decoder: Decoder) -> Iterator[Tensor]:
    yield from blocks.frame(decoder)
    for layer in range(decoder.layers):
        yield from blocks.attention(decoder, layer)
        yield from blocks.head_norms(
            decoder, layer, queries=(decoder.queries,), keys=(decoder.keys,)
        )
        yield from blocks.norms(decoder, layer, *_NORMS)
        yield from blocks.feed_forward(decoder, layer)
