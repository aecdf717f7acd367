"""Mixtures of experts: dense layers among them, unreached experts, layouts not understood."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from modelvault.core.protocol import Warned
from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource
from tests.awq.models import make_random
from tests.awq.running import edit_config, make_request, produced, run
from tests.support.trainedmodel import Family, load

Trained = Callable[[Family], Path]


def _copy(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))


def _with_tokenizer(folder: Path, trained: Trained, *, rows: int = 1024) -> None:
    """Give a random model the tokenizer of a trained one, and rows for all its tokens."""
    shutil.copy(trained("llama") / "tokenizer.json", folder)
    tensors = load(folder)
    generator = torch.Generator().manual_seed(2)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = torch.randn(rows, 64, generator=generator) / 8
    save_file(tensors, folder / "model.safetensors")
    edit_config(folder, vocab_size=rows)


@pytest.mark.parametrize("target", ["AWQ", "W4A16", "FP8", "INT8"])
def test_routers_and_dense_layers_are_told_apart(
    target: str, trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """Each layer is what the configuration says; a server is told the routers' full names."""
    folder = tmp_path / "model"
    make_random(folder, "qwen2-moe-dense-layers")
    _with_tokenizer(folder, trained)
    out = tmp_path / "out"
    calibrated = target in ("AWQ", "W4A16")
    few: dict[str, Any] = {"calibration": str(corpus), "samples": "4"} if calibrated else {}
    run(make_request(folder, target, out, **few))
    tensors = load(out)
    for layer, sparse in ((0, True), (1, False), (2, True)):
        prefix = f"model.layers.{layer}.mlp"
        router = tensors.get(f"{prefix}.gate.weight")
        assert (router is not None and router.is_floating_point()) == sparse
        quantized = {name.rpartition(".")[0] for name in tensors if "scale" in name}
        assert (f"{prefix}.experts.3.down_proj" in quantized) == sparse
        assert (f"{prefix}.shared_expert.up_proj" in quantized) == sparse
        assert (f"{prefix}.gate_proj" in quantized) != sparse
        assert not {f"{prefix}.gate", f"{prefix}.shared_expert_gate"} & quantized
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    kept = config["modules_to_not_convert"] if target == "AWQ" else config["ignore"]
    assert {name for name in kept if name != "lm_head"} == {
        f"model.layers.{layer}.mlp.{name}"
        for layer in (0, 2)
        for name in ("gate", "shared_expert_gate")
    }


def test_unreached_experts_are_told_with_their_number(
    trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """Nobody learns from a good figure alone that an expert was never calibrated."""
    folder = tmp_path / "model"
    make_random(folder, "mixtral")
    _with_tokenizer(folder, trained)
    tensors = load(folder)
    for layer in range(3):
        tensors[f"model.layers.{layer}.block_sparse_moe.gate.weight"].zero_()  # two for all
    save_file(tensors, folder / "model.safetensors")
    events = run(make_request(folder, "AWQ", tmp_path / "out", calibration=str(corpus)))
    (warning,) = [
        event for event in events if isinstance(event, Warned) and "expert" in event.message
    ]
    assert warning.message.startswith("6 experts")
    assert produced(events).quantization == "AWQ"


@pytest.mark.parametrize("target", ["AWQ", "FP8"])
@pytest.mark.parametrize("part", ["experts.2.up_proj", "gate", "shared_expert_gate"])
def test_missing_part_of_a_mixture_is_named(
    part: str, target: str, trained: Trained, tmp_path: Path
) -> None:
    """An expert or a router that the files lack is no silent zero."""
    folder = _copy(trained("qwen2_moe"), tmp_path)
    tensors = load(folder)
    name = f"model.layers.1.mlp.{part}.weight"
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceIncomplete) as caught:
        run(make_request(folder, target, tmp_path / "out"))
    assert caught.value.issues == (name,)


def test_experts_in_one_tensor_are_refused_with_what_is_supported(
    trained: Trained, tmp_path: Path
) -> None:
    """Some libraries save them so; servers read one matrix an expert."""
    folder = _copy(trained("qwen3_moe"), tmp_path)
    tensors = load(folder)
    for layer in range(2):
        prefix = f"model.layers.{layer}.mlp.experts"
        parts = [tensors.pop(f"{prefix}.{n}.down_proj.weight") for n in range(4)]
        tensors[f"{prefix}.down_proj"] = torch.stack(parts)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceIncomplete) as caught:
        run(make_request(folder, "AWQ", tmp_path / "out"))
    assert "one matrix each" in caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"num_experts": 0},
        {"num_experts": -1},
        {"num_experts": 10**9},
        {"num_experts": "4"},
        {"num_experts": True},
        {"decoder_sparse_step": 0},
        {"decoder_sparse_step": "1"},
        {"mlp_only_layers": 7},
    ],
)
@pytest.mark.parametrize("target", ["AWQ", "FP8"])
def test_attack_nonsense_about_experts_is_refused(
    changes: dict[str, object], target: str, trained: Trained, tmp_path: Path
) -> None:
    """Counts are bounded before names are made of them."""
    folder = _copy(trained("qwen2_moe"), tmp_path)
    edit_config(folder, **changes)
    with pytest.raises(UnsupportedSource, match=next(iter(changes))):
        run(make_request(folder, target, tmp_path / "out"))


def test_more_experts_than_the_files_hold_are_refused(trained: Trained, tmp_path: Path) -> None:
    """The first that is missing is named."""
    folder = _copy(trained("mixtral"), tmp_path)
    edit_config(folder, num_local_experts=5)
    with pytest.raises(SourceIncomplete, match=r"experts\.4\.w1"):
        run(make_request(folder, "AWQ", tmp_path / "out"))


@pytest.mark.parametrize(
    ("family", "name", "rows"),
    [
        ("phi3", "self_attn.qkv_proj", 248),
        ("phi3", "mlp.gate_up_proj", 520),
        ("mixtral", "block_sparse_moe.experts.1.w3", 248),
        ("gemma2", "self_attn.v_proj", 48),
    ],
)
def test_odd_shape_is_refused_by_name(
    family: Family, name: str, rows: int, trained: Trained, tmp_path: Path
) -> None:
    """A matrix that does not fit the others is found before anything is folded."""
    folder = _copy(trained(family), tmp_path)
    tensors = load(folder)
    tensors[f"model.layers.0.{name}.weight"] = torch.zeros(rows, 128)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises((MalformedWeights, SourceIncomplete)) as caught:
        run(make_request(folder, "AWQ", tmp_path / "out"))
    assert name.rpartition(".")[2] in " ".join((str(caught.value), *caught.value.issues))
