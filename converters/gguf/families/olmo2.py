"""OLMo 2: norms after attention and feed-forward, and over all queries and keys at once.

Source:
    transformers ``Olmo2ForCausalLM``; llama.cpp ``LLM_ARCH_OLMO2``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from converters.gguf.config import Config
from converters.gguf.families import decoder as common
from converters.gguf.families.decoder import Decoder, same
from converters.gguf.families.rope import read_rope, rope_entries
from converters.gguf.tensors import Blueprint, Shapes, Tensor

ARCHITECTURES = ("Olmo2ForCausalLM",)

_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def describe(config: Mapping[str, Any], _shapes: Shapes) -> Blueprint:
    """Return the blueprint of an OLMo 2 model.

    Args:
        config: ``config.json``.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    decoder = common.read_decoder(values, "olmo2")
    rope = read_rope(values)
    common.check_activation(values, "silu", "swish")
    if values.flag("attention_bias", default=False):
        values.fault("'attention_bias' is true: llama.cpp knows no biases for this architecture")
    if decoder.tied:
        values.fault("'tie_word_embeddings' is true: llama.cpp wants an output of its own here")
    if rope.kind == "llama3":
        values.fault("rotary scaling of type 'llama3' is not known for this architecture")
    entries = (
        *common.dimension_entries(values, decoder, epsilon=1e-5),
        *rope_entries(decoder, rope),
    )
    values.check()
    return decoder.blueprint(iter(entries), _tensors(decoder), warnings=rope.warnings)


def _tensors(decoder: Decoder) -> Iterator[Tensor]:
    yield from common.frame(decoder)
    for layer in range(decoder.layers):
        to, at = f"blk.{layer}.attn_", f"{decoder.source(layer)}self_attn."
        yield from common.attention(decoder, layer)
        yield same(f"{to}q_norm.weight", f"{at}q_norm.weight", decoder.queries)
        yield same(f"{to}k_norm.weight", f"{at}k_norm.weight", decoder.keys)
        yield from common.norms(decoder, layer, _NORMS)
        yield from common.feed_forward(decoder, layer)
