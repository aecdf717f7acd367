"""DeepSeek V2, V2-Lite and V3: latent attention computes what transformers computes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from modelvault.errors import SourceIncomplete, UnsupportedSource
from modelvault_converters.gguf.families import deepseek2
from tests.gguf.running import convert, edit_json, plan, warnings
from tests.gguf.test_runtime import LIMITS, difference
from tests.support.fp8 import dequantize, quantize_fp8
from tests.support.tinymodel import VOCABULARY, make_tiny_llama

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 64,
    "q_lora_rank": 96,
    "qk_nope_head_dim": 48,
    "qk_rope_head_dim": 32,
    "v_head_dim": 40,
    "max_position_embeddings": 512,
    "n_group": 1,
    "topk_group": 1,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
}


def make_tiny_deepseek(folder: Path, *, newer: bool, **changes: Any) -> None:
    """Write a tiny V2, or with ``newer`` V3, whose every part counts in the logits."""
    make_tiny_llama(folder)
    (folder / "model.safetensors").unlink()
    settings = SHAPE | changes
    torch.manual_seed(2)
    model: Any
    if newer:
        model = transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(**settings))
    else:
        model = transformers.DeepseekV2ForCausalLM(transformers.DeepseekV2Config(**settings))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.08)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            torch.nn.init.normal_(buffer, std=0.3)
    model.save_pretrained(folder)


V2: dict[str, Any] = {"newer": False}
LITE: dict[str, Any] = {
    "newer": False,
    "q_lora_rank": None,
    "num_hidden_layers": 27,  # by which the runtime knows it
    "hidden_size": 64,
    "n_routed_experts": 4,
}
V3: dict[str, Any] = {
    "newer": True,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
}
KANANA: dict[str, Any] = {
    "newer": True,
    "q_lora_rank": None,
    "num_hidden_layers": 48,
    "vocab_size": 128256,  # with which the runtime knows it
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
}
MODELS = {
    "v2": V2,
    "v2-scaled": V2 | {"routed_scaling_factor": 4.0},
    "v2-yarn": V2 | {"rope_parameters": YARN},
    "lite": LITE,
    "kanana-2": KANANA,
    "v3": V3,
    "v3-yarn": V3 | {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a tiny model's folder, read-only by agreement."""
    done: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in done:
            done[name] = tmp_path_factory.mktemp("deepseek") / name
            make_tiny_deepseek(done[name], **MODELS[name])
        return done[name]

    return make


@pytest.fixture
def v3(made: Callable[[str], Path], tmp_path: Path) -> Path:
    """Return a tiny V3 that the test may change."""
    return Path(shutil.copytree(made("v3"), tmp_path / "v3"))


@pytest.mark.parametrize("name", MODELS)
def test_deepseek_computes_what_transformers_does(
    made: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """Logits of the runtime's latent attention equal those of transformers."""
    assert difference(made(name), "F32", tmp_path) < 1e-3


def test_deepseek_in_half_precision_stays_close(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    """F16, whose key half falls back where rows are short, runs and stays near."""
    assert difference(made("v3"), "F16", tmp_path) < 5 * LIMITS["F16"]


def test_untransposed_keys_are_caught(
    made: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: heads of keys in another order give other logits."""
    plain = deepseek2._halves

    def turned(*arguments: Any) -> Any:
        for tensor in plain(*arguments):
            parts = tensor.parts[::-1] if "k_b" in tensor.name else tensor.parts
            yield replace(tensor, parts=parts)

    monkeypatch.setattr(deepseek2, "_halves", turned)
    assert difference(made("v2"), "F32", tmp_path) > 0.1


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("v3", "expert_gating_func"),
        ("v3", "expert_weights_scale"),
        ("v3-yarn", "rope.scaling.yarn_log_multiplier"),
        ("v2-yarn", "rope.scaling.factor"),
    ],
)
def test_lost_key_is_caught(
    made: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    key: str,
) -> None:
    """Negative control: without each of these keys the comparison above fails."""
    for maker in ("_choice_entries", "_rope_entries"):
        whole = getattr(deepseek2, maker)

        def without(*arguments: Any, whole: Any = whole, **named: Any) -> Any:
            entries = list(whole(*arguments, **named))
            return (entry for entry in entries if not entry.key.endswith(key))

        monkeypatch.setattr(deepseek2, maker, without)
    assert difference(made(name), "F32", tmp_path) > 1e-2


def test_blocks_that_predict_further_tokens_are_left_out(v3: Path, tmp_path: Path) -> None:
    """The extra block of V3 changes nothing in the result."""
    expected = convert(v3, "F16", tmp_path / "without").read_bytes()
    tensors = load_file(v3 / "model.safetensors")
    extra = {
        name.replace("layers.2.", "layers.3."): value.clone()
        for name, value in tensors.items()
        if "layers.2." in name
    }
    extra["model.layers.3.eh_proj.weight"] = torch.zeros(128, 256)
    save_file(tensors | extra, v3 / "model.safetensors")
    assert convert(v3, "F16", tmp_path / "with").read_bytes() == expected


@pytest.mark.parametrize("target", ["BF16", "Q4_K_M"])
def test_deepseek_from_fp8_equals_its_dequantised_self(
    v3: Path, tmp_path: Path, target: str
) -> None:
    """Halved, transposed and stacked out of FP8, every byte is that of the wide weights."""
    quantize_fp8(v3)
    wide = Path(shutil.copytree(v3, tmp_path / "wide" / "v3"))
    dequantize(wide)
    made = convert(v3, target, tmp_path / "fp8").read_bytes()
    assert made == convert(wide, target, tmp_path / "f32").read_bytes()


def test_deepseek_from_fp8_runs(v3: Path, tmp_path: Path) -> None:
    """What came of FP8 weights computes what their dequantised selves compute."""
    quantize_fp8(v3)
    wide = Path(shutil.copytree(v3, tmp_path / "wide"))
    dequantize(wide)
    path = convert(v3, "F32", tmp_path / "out")
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    assert types["blk.1.ffn_down_exps.weight"] == "F32"
    assert difference(wide, "F32", tmp_path / "again") < 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_interleave": False}, "rope_interleave"),
        ({"moe_layer_freq": 2}, "moe_layer_freq"),
        ({"scoring_func": "tanh"}, "scoring_func"),
        ({"rope_parameters": YARN | {"mscale": 2.0}}, "mscale"),
        ({"rope_parameters": YARN | {"rope_type": "longrope"}}, "longrope"),
        ({"q_lora_rank": None}, "but no 'q_lora_rank'"),
        ({"num_hidden_layers": 27}, "and 'q_lora_rank'"),
        ({"num_hidden_layers": 48, "q_lora_rank": None}, "or of 48 with 128256 tokens"),
        ({"num_hidden_layers": 48, "vocab_size": 128256}, "48 blocks with 128256 tokens and"),
        ({"kv_lora_rank": "512"}, "kv_lora_rank"),
        ({"num_experts_per_tok": 9}, "experts"),
        ({"hidden_act": "gelu"}, "silu"),
    ],
)
def test_deepseek_that_cannot_be_expressed_is_refused(
    v3: Path, changes: dict[str, Any], message: str
) -> None:
    """What the runtime would compute otherwise is refused by name."""
    edit_json(v3 / "config.json", lambda config: config.update(changes))
    with pytest.raises(UnsupportedSource) as caught:
        plan(v3)
    assert message in str([caught.value, *caught.value.issues])


def test_missing_expert_is_named(v3: Path) -> None:
    """An expert that is not there is found before anything is written."""
    tensors = load_file(v3 / "model.safetensors")
    name = "model.layers.1.mlp.experts.5.up_proj.weight"
    del tensors[name]
    save_file(tensors, v3 / "model.safetensors")
    with pytest.raises(SourceIncomplete, match=name):
        plan(v3)


def test_groups_of_v2_are_warned_of(v3: Path) -> None:
    """V2 limits its groups in a way the runtime does not have: the user is told."""
    config = json.loads((v3 / "config.json").read_text())
    assert not any("groups" in text for text in warnings(plan(v3)))
    config["architectures"] = ["DeepseekV2ForCausalLM"]
    tensors = load_file(v3 / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "correction" not in name}
    save_file(kept, v3 / "model.safetensors")
    (v3 / "config.json").write_text(json.dumps(config))
    assert any("groups" in text for text in warnings(plan(v3)))


PUBLISHED: dict[str, tuple[dict[str, Any], float]] = {
    "DeepSeek V2": (
        {"vocab_size": 102400, "hidden_size": 5120, "intermediate_size": 12288,
         "moe_intermediate_size": 1536, "num_hidden_layers": 60, "num_attention_heads": 128,
         "n_routed_experts": 160, "n_shared_experts": 2, "num_experts_per_tok": 6,
         "first_k_dense_replace": 1, "kv_lora_rank": 512, "q_lora_rank": 1536,
         "architectures": ["DeepseekV2ForCausalLM"]},
        235.74,
    ),
    "DeepSeek V2 Lite": (
        {"vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 10944,
         "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16,
         "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
         "first_k_dense_replace": 1, "kv_lora_rank": 512, "q_lora_rank": None,
         "architectures": ["DeepseekV2ForCausalLM"]},
        15.71,
    ),
    "DeepSeek V3": (
        {"vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
         "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128,
         "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
         "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536,
         "architectures": ["DeepseekV3ForCausalLM"]},
        671.03,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configuration_gives_the_published_size(name: str) -> None:
    """The weights of all tensors are as many as the publisher counts, in thousand millions."""
    config, size = PUBLISHED[name]
    heads = {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
    whole = {"max_position_embeddings": 163840} | heads | config
    blueprint = deepseek2.describe(whole, {})
    assert round(sum(tensor.weights for tensor in blueprint.tensors) / 1e9, 2) == size
