"""Configurations as publishers wrote them give models of the published size.

The numbers of parameters are those that the Hub shows for each checkpoint: a tensor too many, too
few or of another shape would show.
"""

from typing import Any

import pytest

from modelvault.errors import UnsupportedSource
from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families import find_family
from modelvault_converters.gguf.families.decoder import read_decoder
from modelvault_converters.gguf.families.rope import read_rope
from modelvault_converters.gguf.tensors import Blueprint


def config(
    architecture: str,
    *sizes: int,
    **others: object,
) -> dict[str, Any]:
    """Return a configuration; sizes are hidden, feed-forward, layers, heads, key heads, tokens."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "vocab_size")  # fmt: skip
    values: dict[str, Any] = {"architectures": [architecture], "max_position_embeddings": 4096}
    return values | dict(zip(names, sizes, strict=True)) | others


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONG = {"type": "longrope", "long_factor": [1.5] * 48, "short_factor": [1.0] * 48}

MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "Llama 2 7B": (config("LlamaForCausalLM", 4096, 11008, 32, 32, 32, 32000), 6_738_415_616),
    "Llama 3.1 8B": (
        config("LlamaForCausalLM", 4096, 14336, 32, 32, 8, 128256,
               rope_theta=500000.0, rope_scaling=LLAMA3),
        8_030_261_248,
    ),
    "Llama 3.2 1B": (
        config("LlamaForCausalLM", 2048, 8192, 16, 32, 8, 128256, head_dim=64, rope_theta=500000.0,
               rope_scaling=LLAMA3 | {"factor": 32.0}, tie_word_embeddings=True),
        1_235_814_400,
    ),
    "Llama 3.3 70B": (
        config("LlamaForCausalLM", 8192, 28672, 80, 64, 8, 128256, head_dim=128,
               rope_theta=500000.0, rope_scaling=LLAMA3),
        70_553_706_496,
    ),
    "Mistral 7B": (
        config("MistralForCausalLM", 4096, 14336, 32, 32, 8, 32000, sliding_window=4096),
        7_241_732_096,
    ),
    "Mistral Large 2": (
        config("MistralForCausalLM", 12288, 28672, 88, 96, 8, 32768, head_dim=128,
               rope_theta=1000000.0, sliding_window=None),
        122_610_069_504,
    ),
    "Mixtral 8x7B": (
        config("MixtralForCausalLM", 4096, 14336, 32, 32, 8, 32000, num_local_experts=8,
               num_experts_per_tok=2, rope_theta=1000000.0, sliding_window=None),
        46_702_792_704,
    ),
    "Yi 34B": (
        config("LlamaForCausalLM", 7168, 20480, 60, 56, 8, 64000, rope_theta=5000000.0),
        34_388_917_248,
    ),
    "SOLAR 10.7B": (config("LlamaForCausalLM", 4096, 14336, 48, 32, 8, 32000), 10_731_524_096),
    "Qwen2.5 7B": (
        config("Qwen2ForCausalLM", 3584, 18944, 28, 28, 4, 152064, rope_theta=1000000.0,
               sliding_window=131072, use_sliding_window=False),
        7_615_616_512,
    ),
    "Qwen3 8B": (
        config("Qwen3ForCausalLM", 4096, 12288, 36, 32, 8, 151936, head_dim=128),
        8_190_735_360,
    ),
    "Qwen1.5 MoE A2.7B": (
        config("Qwen2MoeForCausalLM", 2048, 5632, 24, 16, 16, 151936, num_experts=60,
               num_experts_per_tok=4, moe_intermediate_size=1408, norm_topk_prob=False,
               shared_expert_intermediate_size=5632),
        14_315_784_192,
    ),
    "Qwen3 30B A3B": (
        config("Qwen3MoeForCausalLM", 2048, 6144, 48, 32, 4, 151936, head_dim=128,
               num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
               norm_topk_prob=True, mlp_only_layers=[], decoder_sparse_step=1),
        30_532_122_624,
    ),
    "Gemma 2 9B": (
        config("Gemma2ForCausalLM", 3584, 14336, 42, 16, 8, 256000, head_dim=256,
               hidden_activation="gelu_pytorch_tanh"),
        9_241_705_984,
    ),
    "Gemma 2 27B": (
        config("Gemma2ForCausalLM", 4608, 36864, 46, 32, 16, 256000, head_dim=128,
               query_pre_attn_scalar=144),
        27_227_128_320,
    ),
    "Gemma 3 1B": (
        config("Gemma3ForCausalLM", 1152, 6912, 26, 4, 1, 262144, head_dim=256,
               sliding_window=512, sliding_window_pattern=6, rope_theta=1000000,
               rope_local_base_freq=10000),
        999_885_952,
    ),
    "Gemma 3 4B": (
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "text_config": {
                "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
            },
        },
        3_880_263_168,
    ),
    "SmolLM3 3B": (
        config("SmolLM3ForCausalLM", 2048, 11008, 36, 16, 4, 128256, rope_theta=5000000.0,
               no_rope_layers=[1, 1, 1, 0] * 9, no_rope_layer_interval=4, use_sliding_window=False,
               sliding_window=None, mlp_bias=False),
        3_075_098_624,
    ),
    "Phi-3 mini 128k": (
        config("Phi3ForCausalLM", 3072, 8192, 32, 32, 32, 32064, rope_scaling=LONG,
               max_position_embeddings=131072, original_max_position_embeddings=4096),
        3_821_079_552,
    ),
    "Phi-4": (
        config("Phi3ForCausalLM", 5120, 17920, 40, 40, 10, 100352, sliding_window=None),
        14_659_507_200,
    ),
}  # fmt: skip


CARDS: dict[str, tuple[dict[str, Any], float]] = {
    "EXAONE 3.5 7.8B": (
        {"architectures": ["ExaoneForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
         "num_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
         "vocab_size": 102400, "max_position_embeddings": 32768, "layer_norm_epsilon": 1e-05,
         "activation_function": "silu", "rope_theta": 1000000.0, "rope_scaling": LLAMA3,
         "tie_word_embeddings": False},
        7.8,
    ),
    "EXAONE 4.0 32B": (
        config("Exaone4ForCausalLM", 5120, 27392, 64, 40, 8, 102400, head_dim=128,
               sliding_window=4096, sliding_window_pattern="LLLG", rope_theta=1000000.0,
               rope_scaling=LLAMA3 | {"factor": 16.0}),
        32.0,
    ),
    "GLM-4 32B 0414": (
        config("Glm4ForCausalLM", 6144, 23040, 61, 48, 2, 151552, head_dim=128,
               attention_bias=False),
        32.6,
    ),
}  # fmt: skip
"""Models whose cards round the number of parameters, in thousand millions."""


@pytest.mark.parametrize("name", CARDS)
def test_published_configuration_gives_the_size_of_its_card(name: str) -> None:
    """As many weights as the publisher says, to the digits that he says."""
    values, billions = CARDS[name]
    tensors = describe(values).tensors
    weights = sum(tensor.weights for tensor in tensors if tensor.constant is None)
    assert round(weights / 1e9, 1) == billions


def describe(values: dict[str, Any]) -> Blueprint:
    """Return the blueprint of a configuration."""
    return find_family(values)(values, {})


def entries(values: dict[str, Any]) -> dict[str, object]:
    """Return key → value of a configuration's metadata."""
    return {entry.key: entry.value for entry in describe(values).entries}


@pytest.mark.parametrize("name", MODELS)
def test_published_configuration_gives_the_published_size(name: str) -> None:
    """The tensors of every known model hold as many weights as its publisher says."""
    values, parameters = MODELS[name]
    tensors = describe(values).tensors
    assert sum(tensor.weights for tensor in tensors if tensor.constant is None) == parameters


def test_gemma3_of_older_spelling_says_both_bases() -> None:
    """Google's first configurations name the window's rotary base beside the other."""
    made = entries(MODELS["Gemma 3 1B"][0])
    assert made["gemma3.rope.freq_base"] == 1000000.0
    assert made["gemma3.rope.freq_base_swa"] == 10000.0
    assert made["gemma3.attention.sliding_window"] == 512


def test_gemma3_in_a_larger_model_takes_the_rest_from_defaults() -> None:
    """A configuration that says little is filled in as transformers fills it."""
    made = entries(MODELS["Gemma 3 4B"][0])
    assert made["gemma3.rope.scaling.factor"] == 8.0
    assert made["gemma3.attention.head_count_kv"] == 4
    assert made["gemma3.context_length"] == 131072


def test_gemma3_names_and_images_are_found_by_what_is_stored() -> None:
    """Of the rows as many as there are tokens; tensors that see images are left out."""
    values, _ = MODELS["Gemma 3 4B"]
    embedding = "model.embed_tokens.weight"
    vision = "vision_tower.vision_model.head.weight"
    blueprint = find_family(values)(values, {embedding: (262272, 2560), vision: (1, 1)})
    (table,) = [tensor for tensor in blueprint.tensors if tensor.name == "token_embd.weight"]
    assert table.shape == (262208, 2560)
    assert (table.parts[0].name, table.parts[0].rows) == (embedding, 262208)
    assert vision in blueprint.ignored
    assert any("images" in text for text in blueprint.warnings)


def test_phi3_says_its_window_and_factors_always() -> None:
    """Zero stands for no window; a stretched context brings factors for attention and rotation."""
    assert entries(MODELS["Phi-4"][0])["phi3.attention.sliding_window"] == 0
    values, _ = MODELS["Phi-3 mini 128k"]
    made = entries(values)
    assert made["phi3.rope.scaling.original_context_length"] == 4096
    assert made["phi3.rope.scaling.attn_factor"] == pytest.approx(1.1902380714238083)
    names = {tensor.name for tensor in describe(values).tensors}
    assert {"rope_factors_long.weight", "rope_factors_short.weight"} <= names


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("Gemma 2 9B", {"query_pre_attn_scalar": 224}, "llama.cpp computes with 256"),
        ("Gemma 2 9B", {"layer_types": ["full_attention"] * 42}, "one block of 2"),
        ("Qwen3 30B A3B", {"norm_topk_prob": False}, "sum to one"),
        ("Qwen2.5 7B", {"use_sliding_window": True}, "sliding window"),
        ("Phi-3 mini 128k", {"sliding_window": 2047}, "2047 tokens"),
        ("Yi 34B", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "beyond 4096 tokens"),
    ],
)
def test_what_the_runtime_computes_otherwise_is_told(
    name: str, changes: dict[str, Any], message: str
) -> None:
    """Whatever a file cannot say is said to the user instead."""
    warnings = describe(MODELS[name][0] | changes).warnings
    assert any(message in text for text in warnings), warnings


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("Qwen3 30B A3B", {"decoder_sparse_step": 2}, "some blocks have no experts"),
        ("Qwen3 30B A3B", {"num_experts_per_tok": 129}, "129 of 128 experts"),
        ("Mixtral 8x7B", {"num_local_experts": 1 << 20}, "experts cannot be used"),
        ("Phi-3 mini 128k", {"rope_scaling": LONG | {"long_factor": [1.5]}}, "no list of 48"),
        ("Phi-3 mini 128k", {"rope_scaling": LONG | {"type": "llama3"}}, "'llama3' is not known"),
        ("Phi-4", {"partial_rotary_factor": 2.0}, "'partial_rotary_factor' is 2.0"),
        ("Gemma 3 1B", {"attn_logit_softcapping": 50.0}, "not known for Gemma 3"),
        ("Gemma 2 9B", {"tie_word_embeddings": False}, "weights of its own"),
        ("Gemma 2 9B", {"hidden_activation": "relu"}, "gelu_pytorch_tanh"),
        ("Qwen3 8B", {"rope_scaling": {"type": "mrope"}}, "'mrope' is not known"),
    ],
)
def test_what_cannot_be_expressed_is_refused(
    name: str, changes: dict[str, Any], message: str
) -> None:
    """A model that the runtime would get wrong is refused, with the value that is at fault."""
    with pytest.raises(UnsupportedSource) as caught:
        describe(MODELS[name][0] | changes)
    assert message in "\n".join([caught.value.message, *caught.value.issues])


def test_yarn_tuning_becomes_keys() -> None:
    """What YaRN may be tuned with is carried over; its trained context may go without saying."""
    rope = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 24.0, "beta_slow": 2.0}
    made = entries(MODELS["Qwen2.5 7B"][0] | {"rope_parameters": rope})
    assert made["qwen2.rope.scaling.yarn_beta_fast"] == 24.0
    assert made["qwen2.rope.scaling.yarn_beta_slow"] == 2.0
    assert made["qwen2.rope.scaling.original_context_length"] == 4096


def test_sections_by_kind_of_layer_are_opened() -> None:
    """``rope_parameters`` of transformers 5 may hold one section a kind of layer."""
    values = Config(
        {"rope_parameters": {"full_attention": {"rope_type": "linear", "rope_theta": 7.0}}}
    )
    decoder = read_decoder(Config(MODELS["Gemma 3 1B"][0]), "gemma3")
    rope = read_rope(values, decoder, layers="full_attention")
    assert (rope.kind, rope.theta) == ("linear", 7.0)


def test_odd_head_is_refused() -> None:
    """A head of an odd width cannot be turned in pairs."""
    values = Config(config("LlamaForCausalLM", 512, 512, 1, 8, 8, 512, head_dim=63))
    with pytest.raises(UnsupportedSource, match="heads of 63"):
        read_decoder(values, "llama")
