"""EXAONE 3 to K-EXAONE, GLM-4 and Solar Open: what is their own counts, what cannot be is refused.

That each computes what transformers computes is in ``test_family_runtime.py``.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelvault.errors import SourceIncomplete, UnsupportedSource
from modelvault_converters.gguf.families import exaone, exaone_moe, glm4, glm4_moe
from modelvault_converters.gguf.tensors import Entry
from tests.gguf.running import convert, edit_json, plan, warnings
from tests.gguf.test_ends import add_tokens
from tests.gguf.test_golden import read_metadata
from tests.gguf.test_runtime import compared, difference, reference
from tests.support.llamacpp import Model
from tests.support.tinyfamilies import make_tiny_family
from tests.support.tinymodel import MIXED_SCRIPT, make_tiny_llama

NEAR = 5e-3
"""Largest difference of a logit in float32, in deviations of the logits."""

SIZES = ("hidden_size", "intermediate_size", "moe_intermediate_size")

MODULES: dict[str, Any] = {
    "exaone4": exaone,
    "exaone_moe": exaone_moe,
    "glm4": glm4,
    "glm4_moe": glm4_moe,
    "solar_open": glm4_moe,
}


def to_third(folder: Path) -> None:
    """Spell a Llama as EXAONE 3 spells itself, which computes the same."""
    names = {**exaone._NAMES}

    def spell(name: str) -> str:
        for usual, own in names.items():
            name = name.replace(usual, own)
        return name

    path = folder / "model.safetensors"
    found = load_file(path)
    save_file({spell(name): tensor for name, tensor in found.items()}, path)

    def change(config: dict[str, Any]) -> None:
        config["architectures"] = ["ExaoneForCausalLM"]
        config["model_type"] = "exaone"
        for older, usual in exaone._OLDER.items():
            config[older] = config.pop(usual)

    edit_json(folder / "config.json", change)


@pytest.mark.parametrize("tied", [False, True])
def test_exaone3_computes_what_llama_does(tmp_path: Path, tied: bool) -> None:
    """GPT-2's names, rotary factors of llama3, with and without an output of its own."""
    make_tiny_llama(tmp_path / "tiny", tied=tied)
    ids, expected = reference(tmp_path / "tiny", MIXED_SCRIPT)
    to_third(tmp_path / "tiny")
    assert compared(convert(tmp_path / "tiny", "F32", tmp_path / "out"), ids, expected) < NEAR


def test_exaone4_with_windows_computes_what_transformers_does(tmp_path: Path) -> None:
    """The 32 B: windows in three blocks of four, and only there positions turn."""
    windowed: dict[str, Any] = {"num_hidden_layers": 64, "sliding_window": 48, "layer_types": None}
    make_tiny_family(tmp_path / "tiny", "exaone4", hidden_size=64, intermediate_size=64, **windowed)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") < NEAR
    assert not any("windows" in text for text in warnings(plan(tmp_path / "tiny")))


def test_windows_of_other_exaone4_are_warned_of(tmp_path: Path) -> None:
    """The runtime knows them by the number of blocks; elsewhere answers differ."""
    make_tiny_family(tmp_path / "tiny", "exaone4", sliding_window=48)
    assert any("64 blocks alone" in text for text in warnings(plan(tmp_path / "tiny")))


def test_pattern_of_windows_in_letters_is_read(tmp_path: Path) -> None:
    """LG AI Research writes LLLG where others list blocks."""
    make_tiny_family(tmp_path / "tiny", "exaone_moe")
    expected = read_metadata(convert(tmp_path / "tiny", "F16", tmp_path / "a"))

    def spell(config: dict[str, Any]) -> None:
        del config["layer_types"]
        config["sliding_window_pattern"] = "LLLG"

    edit_json(tmp_path / "tiny/config.json", spell)
    assert read_metadata(convert(tmp_path / "tiny", "F16", tmp_path / "b")) == expected


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("exaone4", {"tie_word_embeddings": True}),
        ("exaone4", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
        ("exaone_moe", {"first_k_dense_replace": 2, "mlp_layer_types": None}),
        ("exaone_moe", {"norm_topk_prob": False}),
        ("glm4", {"attention_bias": False}),
        ("glm4_moe", {"use_qk_norm": False, "attention_bias": False, "n_shared_experts": 2}),
        ("glm4_moe", {"norm_topk_prob": False, "first_k_dense_replace": 2}),
        ("solar_open", {"n_shared_experts": 1, "n_group": 1}),
    ],
)
def test_variant_computes_what_transformers_does(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    """What publishers switch on or off within a family is carried over."""
    make_tiny_family(tmp_path / "tiny", family, **changes)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") < NEAR


@pytest.mark.parametrize("family", ["exaone_moe", "glm4_moe", "solar_open"])
def test_fused_experts_give_the_same_file(tmp_path: Path, family: str) -> None:
    """Experts in one tensor, as transformers 5 may save them, are the same experts."""
    made = []
    for fused in (False, True):
        folder = tmp_path / str(fused) / "tiny"
        make_tiny_family(folder, family, fused=fused)
        made.append(convert(folder, "F16", tmp_path / str(fused) / "out").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("exaone_moe", "attention.sliding_window"),
        ("exaone_moe", "expert_weights_scale"),
        ("glm4", "rope.dimension_count"),
        ("glm4_moe", "rope.dimension_count"),
        ("glm4_moe", "expert_weights_scale"),
        ("solar_open", "rope.freq_base"),
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
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 5 * NEAR


@pytest.mark.parametrize("family", ["exaone_moe", "glm4_moe", "solar_open"])
def test_scores_without_their_correction_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Negative control: experts that are chosen by uncorrected scores are others."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, family)
    ids, expected = reference(folder, MIXED_SCRIPT)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith("e_score_correction_bias"):
            tensors[name] = torch.zeros_like(tensors[name])
    save_file(tensors, folder / "model.safetensors")
    assert compared(convert(folder, "F32", tmp_path / "out"), ids, expected) > 5 * NEAR


@pytest.mark.parametrize("family", MODULES)
def test_quantized_family_loads(tmp_path: Path, family: str) -> None:
    """A mix of types loads and computes in the runtime."""
    sizes: dict[str, Any] = dict.fromkeys(SIZES, 256)
    if family == "solar_open":
        del sizes["intermediate_size"]
    make_tiny_family(tmp_path / "tiny", family, **sizes)
    with Model.load(convert(tmp_path / "tiny", "Q4_K_M", tmp_path / "out")) as model:
        assert model.logits(model.tokenize("금고 vault")).std() > 0


def add_predicting(folder: Path, family: str) -> None:
    """Give a model a block that predicts ahead, as its publisher stores it."""
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    last, hidden = config["num_hidden_layers"], config["hidden_size"]
    source = "model.layers.0." if family == "exaone_moe" else f"model.layers.{last - 1}."
    at = "mtp.layers.0." if family == "exaone_moe" else f"model.layers.{last}."
    for name in [name for name in tensors if name.startswith(source)]:
        tensors[name.replace(source, at)] = tensors[name].clone()
    if family == "exaone_moe":
        norms = ("mtp.pre_fc_norm_embedding", "mtp.pre_fc_norm_hidden", "mtp.norm")
        tensors["mtp.fc.weight"] = torch.randn(hidden, 2 * hidden, dtype=torch.bfloat16)
    else:
        norms = (f"{at}enorm", f"{at}hnorm", f"{at}shared_head.norm")
        tensors[f"{at}eh_proj.weight"] = torch.randn(hidden, 2 * hidden, dtype=torch.bfloat16)
    for name in norms:
        tensors[f"{name}.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
    save_file(tensors, folder / "model.safetensors")
    edit_json(folder / "config.json", lambda value: value.update(num_nextn_predict_layers=1))


@pytest.mark.parametrize("family", ["exaone_moe", "glm4_moe"])
def test_block_that_predicts_ahead_is_carried(tmp_path: Path, family: str) -> None:
    """The file holds it, and the model computes as before."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, family)
    ids, expected = reference(folder, MIXED_SCRIPT)
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    add_predicting(folder, family)
    path = convert(folder, "F32", tmp_path / "out")
    metadata = read_metadata(path)
    arch = metadata["general.architecture"]
    assert metadata[f"{arch}.nextn_predict_layers"] == 1
    assert metadata[f"{arch}.block_count"] == layers + 1
    assert compared(path, ids, expected) < NEAR


def test_half_a_block_that_predicts_ahead_is_refused(tmp_path: Path) -> None:
    """A tensor of it that is missing is named."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, "exaone_moe")
    add_predicting(folder, "exaone_moe")
    tensors = load_file(folder / "model.safetensors")
    del tensors["mtp.fc.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceIncomplete, match=r"mtp\.fc\.weight"):
        plan(folder)


GLM = ("<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>")


@pytest.mark.parametrize(("family", "stops"), [("glm4", {3}), ("glm4_moe", {3, 5})])
def test_glm_ends_its_turn_at_the_next_speaker(
    tmp_path: Path, family: str, stops: set[int]
) -> None:
    """Nothing but ``<|user|>`` ends an answer, and the family knows it where no list says it."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, family, vocab_size=1032)
    ids = add_tokens(folder, GLM)
    edit_json(folder / "config.json", lambda config: config.update(eos_token_id=None))
    edit_json(folder / "tokenizer_config.json", lambda settings: settings.update(eos_token=GLM[0]))
    (folder / "generation_config.json").unlink()
    path = convert(folder, "F16", tmp_path / "out")
    with Model.load(path) as model:
        assert {ids[GLM[number]] for number in {0} | stops} <= model.ends()
        assert ids["<|assistant|>"] not in model.ends()


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("exaone4", {"hidden_act": "gelu"}, "silu"),
        ("exaone4", {"sliding_window": "wide"}, "sliding_window"),
        ("exaone_moe", {"tie_word_embeddings": True}, "output of its own"),
        ("exaone_moe", {"scoring_func": "tanh"}, "scoring_func"),
        ("exaone_moe", {"mlp_layer_types": ["sparse", "dense"] * 2 + ["sparse"]}, "mlp_layer"),
        ("exaone_moe", {"layer_types": None, "sliding_window_pattern": "LLXG"}, "letters"),
        ("glm4", {"rope_parameters": {"partial_rotary_factor": 3.0}}, "partial_rotary_factor"),
        ("glm4_moe", {"num_experts_per_tok": 99}, "experts"),
        ("solar_open", {"n_routed_experts": None}, "n_routed_experts"),
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
