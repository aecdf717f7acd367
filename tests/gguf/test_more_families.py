"""Granite, OLMo, StableLM, Command-R, SmolLM3: their own parts count; what cannot be is refused.

That each computes what transformers computes is in ``test_family_runtime.py``.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelvault.errors import UnsupportedSource
from modelvault_converters.gguf.families import (
    blocks,
    commandr,
    gemma,
    granite,
    olmo2,
    qwen,
    smollm3,
    stablelm,
)
from modelvault_converters.gguf.tensors import Entry, Tensor
from tests.gguf.running import convert, edit_json, plan
from tests.gguf.test_runtime import difference
from tests.support.llamacpp import Model
from tests.support.tinyfamilies import make_tiny_family

NEAR = 5e-3
"""Largest difference of a logit in float32, in deviations of the logits."""

MODULES: dict[str, Any] = {
    "granite": granite,
    "olmo2": olmo2,
    "olmo3": olmo2,
    "cohere": commandr,
    "cohere2": commandr,
    "stablelm": stablelm,
    "smollm3": smollm3,
}


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("cohere", {"use_qk_norm": True, "num_hidden_layers": 64, "hidden_size": 64}),
        ("cohere", {"num_key_value_heads": 4}),
        ("stablelm", {"use_parallel_residual": True}),
        ("stablelm", {"use_qkv_bias": False}),
        ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
        ("granite", {"mlp_bias": True, "tie_word_embeddings": True}),
        ("olmo2", {"num_key_value_heads": 4}),
        ("smollm3", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
    ],
)
def test_variant_computes_what_transformers_does(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    """What publishers switch on or off within a family is carried over."""
    make_tiny_family(tmp_path / "tiny", family, **changes)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") < NEAR


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("granite", "attention.scale"),
        ("granite", "embedding_scale"),
        ("granite", "residual_scale"),
        ("granite", "logit_scale"),
        ("cohere", "logit_scale"),
        ("cohere2", "logit_scale"),
        ("cohere2", "attention.sliding_window"),
        ("olmo3", "attention.sliding_window"),
        ("olmo3", "rope.scaling.factor"),
        ("stablelm", "rope.dimension_count"),
        ("smollm3", "rope.freq_base"),
    ],
)
def test_wrong_key_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, key: str
) -> None:
    """Negative control: each number of a family's own, doubled, fails the comparison."""
    module = MODULES[family]
    plain = module._entries

    def doubled(*arguments: Any, **settings: Any) -> Iterator[Entry]:
        for entry in plain(*arguments, **settings):
            yield replace(entry, value=entry.value * 2) if entry.key.endswith(key) else entry

    monkeypatch.setattr(module, "_entries", doubled)
    make_tiny_family(tmp_path / "tiny", family)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 10 * NEAR


@pytest.mark.parametrize("family", ["granite", "smollm3"])
def test_unpermuted_family_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Negative control: queries and keys of what is like Llama must change their rows' order."""
    monkeypatch.setattr(blocks, "pairs", lambda _head: ())
    make_tiny_family(tmp_path / "tiny", family)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 10 * NEAR


def test_permuted_command_r_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: Command-R's rows must stay where they are."""
    plain = blocks.attention
    monkeypatch.setattr(
        blocks,
        "attention",
        lambda shape, layer: plain(shape, layer, order=blocks.pairs(shape.head)),
    )
    make_tiny_family(tmp_path / "tiny", "cohere")
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 10 * NEAR


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("olmo2", {"num_key_value_heads": 4}),
        ("stablelm", {"qk_layernorm": True, "num_key_value_heads": 4}),
        ("qwen3", {}),
        ("gemma3_text", {}),
    ],
    ids=["olmo2", "stablelm", "qwen3", "gemma3"],
)
def test_norms_of_queries_that_are_those_of_keys_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, changes: dict[str, Any]
) -> None:
    """Negative control: norms of queries and keys that change places fail the comparison."""
    module = {**MODULES, "qwen3": qwen, "gemma3_text": gemma}[family]
    plain = module._tensors

    def swapped(*arguments: Any, **settings: Any) -> Iterator[Tensor]:
        made = {tensor.name: tensor for tensor in plain(*arguments, **settings)}
        for name in made:
            twin = name.replace("q_norm", "?").replace("k_norm", "q_norm").replace("?", "k_norm")
            yield replace(made[twin], name=name)

    monkeypatch.setattr(module, "_tensors", swapped)
    make_tiny_family(tmp_path / "tiny", family, **changes)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 10 * NEAR


@pytest.mark.parametrize("family", MODULES)
def test_quantized_family_loads(tmp_path: Path, family: str) -> None:
    """A mix of types loads and computes in the runtime."""
    make_tiny_family(tmp_path / "tiny", family, hidden_size=256, intermediate_size=256)
    with Model.load(convert(tmp_path / "tiny", "Q4_K_M", tmp_path / "out")) as model:
        assert model.logits(model.tokenize("금고 vault")).std() > 0


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("granite", {"hidden_act": "gelu"}, "silu"),
        ("granite", {"logits_scaling": 0}, "logits_scaling"),
        ("granite", {"residual_multiplier": "much"}, "residual_multiplier"),
        ("olmo2", {"attention_bias": True}, "attention_bias"),
        ("olmo2", {"rope_parameters": {"rope_type": "llama3"}}, "llama3"),
        ("olmo2", {"tie_word_embeddings": True}, "output of its own"),
        ("cohere", {"attention_bias": True}, "attention_bias"),
        ("cohere", {"use_qk_norm": True}, "use_qk_norm"),
        ("cohere", {"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
        ("olmo3", {"layer_types": ["full_attention"]}, "1 of 5 blocks"),
        ("cohere2", {"use_qk_norm": True}, "use_qk_norm"),
        ("cohere2", {"rotary_pct": 1.5}, "rotary_pct"),
        ("stablelm", {"rope_parameters": {"partial_rotary_factor": 1.5}}, "rotary"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1, 1]}, "no_rope_layers"),
        ("smollm3", {"no_rope_layers": [1, 1, 1]}, "no list of 5 numbers"),
        ("smollm3", {"no_rope_layers": None, "no_rope_layer_interval": 3}, "every 4th block"),
        ("smollm3", {"mlp_bias": True}, "mlp_bias"),
    ],
)
def test_family_that_cannot_be_expressed_is_refused(
    tmp_path: Path, family: str, changes: dict[str, Any], message: str
) -> None:
    """What the runtime would compute otherwise is refused by name."""
    make_tiny_family(tmp_path / "tiny", family)
    edit_json(tmp_path / "tiny/config.json", lambda config: config.update(changes))
    with pytest.raises(UnsupportedSource) as caught:
        plan(tmp_path / "tiny")
    assert message in str([caught.value, *caught.value.issues])
