"""FP8 and INT8 folders: what a server computes from them is what the source computes, nearly."""

import hashlib
import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from modelvault.app.conversion import convert as verb
from modelvault.app.conversion import requests
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.pull import plan_pull, pull
from modelvault.app.vault import Vault
from modelvault.core.names import ModelName, Reference
from modelvault.core.ports import Silence
from modelvault.core.protocol import Laid, Planned, Stepped
from modelvault.errors import (
    BadOption,
    CheckFailed,
    MalformedWeights,
    SizeMismatch,
    SourceIncomplete,
    UnsupportedArchitecture,
    UnsupportedSource,
    UnsupportedTarget,
)
from modelvault.store.paths import VaultPaths
from modelvault.targets.vllm import VllmRuntime
from modelvault_converters.awq.convert import convert
from modelvault_converters.awq.formats.scheme import FP8, INT8, EightBit
from tests.awq.running import edit_config, make_request, produced, run
from tests.support.fakes import FakeSource
from tests.support.trainedmodel import Family, divergence, encode, load, logits

FAMILIES: tuple[Family, ...] = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3",
)  # fmt: skip
TEXT = "Nobody carries a letter across the border. 금고의 열쇠는 두 사람이 나누어 가지고 있습니다."

Trained = Callable[[Family], Path]


def dequantize(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a server computes with."""
    tensors = load(folder)
    for name in [name for name in tensors if name.endswith("_scale")]:
        linear = name.removesuffix("_scale")
        tensors[linear] = tensors[linear].float() * tensors.pop(name)
    return tensors


@pytest.mark.parametrize("target", ["FP8", "INT8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_its_source(
    family: Family, target: str, trained: Trained, tmp_path: Path
) -> None:
    """Dequantised, the folder's logits diverge from the source's by next to nothing."""
    source = trained(family)
    result = produced(run(make_request(source, target, tmp_path)))
    assert result.format == "safetensors"
    assert result.quantization == target
    tokens = encode(source, TEXT)[None]
    expected = logits(source, tokens, load(source))
    weights = dequantize(tmp_path)
    assert 0 < divergence(expected, logits(tmp_path, tokens, weights)) < 0.002


def test_wrong_scales_are_caught_by_the_comparison(trained: Trained, tmp_path: Path) -> None:
    """The negative control: scales in the wrong order answer differently."""
    source = trained("llama")
    run(make_request(source, "FP8", tmp_path))
    tensors = load(tmp_path)
    tokens = encode(source, TEXT)[None]
    expected = logits(source, tokens, load(source))
    right = divergence(expected, logits(tmp_path, tokens, dequantize(tmp_path)))
    for name in [name for name in tensors if name.endswith("_scale")]:
        linear = name.removesuffix("_scale")
        tensors[linear] = tensors[linear].float() * tensors.pop(name).flip(0)
    assert divergence(expected, logits(tmp_path, tokens, tensors)) > 10 * right


def test_result_holds_what_a_server_reads(trained: Trained, tmp_path: Path) -> None:
    """Types, names, configuration and side files are those of compressed-tensors."""
    source = trained("llama")
    events = run(make_request(source, "FP8", tmp_path))
    result = produced(events)
    assert set(result.files) == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    }
    assert {path.name for path in tmp_path.iterdir()} == set(result.files)
    tensors = load(tmp_path)
    name = "model.layers.1.self_attn.k_proj.weight"
    assert tensors[name].dtype == torch.float8_e4m3fn
    assert tensors[f"{name}_scale"].shape == (tensors[name].shape[0], 1)
    assert tensors[f"{name}_scale"].dtype == torch.float32
    original = load(source)
    for kept in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        assert torch.equal(tensors[kept], original[kept])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["quantization_config"]["format"] == "float-quantized"
    assert config["dtype"] == "bfloat16"
    (plan,) = [event for event in events if isinstance(event, Planned)]
    assert plan.size == sum(value.nbytes for value in tensors.values())
    assert plan.tensors == len(tensors)


def test_int8_weights_are_whole_steps_of_a_row(trained: Trained, tmp_path: Path) -> None:
    """Types and configuration are those of compressed-tensors W8A8; errors are half a step."""
    source = trained("llama")
    run(make_request(source, "INT8", tmp_path))
    tensors, original = load(tmp_path), load(source)
    name = "model.layers.1.mlp.down_proj.weight"
    assert tensors[name].dtype == torch.int8
    step = tensors[f"{name}_scale"]
    assert step.dtype == torch.float32
    wrong = (tensors[name].float() * step - original[name].float()).abs()
    assert (wrong <= step * 0.501).all()
    config = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert config["format"] == "int-quantized"
    group = config["config_groups"]["group_0"]
    assert group["weights"] == {
        "type": "int",
        "num_bits": 8,
        "strategy": "channel",
        "symmetric": True,
        "dynamic": False,
    }
    assert group["input_activations"] == {
        "type": "int",
        "num_bits": 8,
        "strategy": "token",
        "symmetric": True,
        "dynamic": True,
    }


def test_large_result_is_cut_into_indexed_shards(trained: Trained, tmp_path: Path) -> None:
    """The index names every tensor in its file; together they are the single file's."""
    source = trained("llama")
    run(make_request(source, "FP8", tmp_path / "one"))
    with ExitStack() as stack:
        request = make_request(source, "FP8", tmp_path / "many")
        result = produced(list(convert(request, stack, shard=200_000)))
    shards = [name for name in result.files if name.endswith(".safetensors")]
    assert len(shards) > 2
    assert "model.safetensors.index.json" in result.files
    whole, cut = load(tmp_path / "one"), load(tmp_path / "many")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name].float(), cut[name].float()) for name in whole)


def test_sharded_source_gives_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    """How the source is cut leaves no trace in the result."""
    from safetensors.torch import save_file

    source = trained("llama")
    folder = tmp_path / "cut"
    shutil.copytree(source, folder)
    tensors = sorted(load(source).items())
    (folder / "model.safetensors").unlink()
    parts = {"a.safetensors": dict(tensors[:7]), "b.safetensors": dict(tensors[7:])}
    for name, part in parts.items():
        save_file(part, folder / name)
    places = {key: name for name, part in parts.items() for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    run(make_request(source, "FP8", tmp_path / "one"))
    run(make_request(folder, "FP8", tmp_path / "two"))
    name = "model.safetensors"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("target", ["FP8", "INT8"])
def test_check_reports_how_far_the_result_is(
    target: str, trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """Weights and activations rounded as a server does; the bytes are those without a check."""
    source, own = trained("qwen2_moe"), target.lower()
    plain = make_request(source, target, tmp_path / "plain")
    run(plain)
    checked = make_request(source, target, tmp_path / "checked", check_text=str(corpus))
    events = run(checked)
    found = produced(events).parameters
    kl, apart = (float(found[key]) for key in (f"kl.{own}", "perplexity.source"))
    assert 0 < kl < 0.2
    assert abs(float(found[f"perplexity.{own}"]) / apart - 1) < 0.2
    assert found["check_text"] == f"sha256:{hashlib.sha256(corpus.read_bytes()).hexdigest()}"
    layers = [item.layer for item in events if isinstance(item, Stepped) and item.step == "layer"]
    assert layers == [1, 2]
    names = {path.name for path in (tmp_path / "plain").iterdir()}
    assert {path.name for path in (tmp_path / "checked").iterdir()} == names
    weights = "model.safetensors"
    assert (tmp_path / "plain" / weights).read_bytes() == (
        tmp_path / "checked" / weights
    ).read_bytes()
    with pytest.raises(CheckFailed, match=f"{target} diverges"):
        run(make_request(source, target, tmp_path / "no", max_kl=str(kl / 100)))
    assert list((tmp_path / "no").iterdir()) == []


def test_outliers_cost_int8_more_than_fp8(trained: Trained, corpus: Path, tmp_path: Path) -> None:
    """The check sees activations: a few large channels leave whole numbers few steps."""
    found = {}
    for target in ("FP8", "INT8"):
        request = make_request(trained("llama"), target, tmp_path / target, check_text=str(corpus))
        found[target] = float(produced(run(request)).parameters[f"kl.{target.lower()}"])
    assert found["INT8"] > found["FP8"] > 0


@pytest.mark.parametrize("option", ["samples", "calibration", "imatrix"])
def test_option_without_a_use_is_refused_by_name(
    option: str, trained: Trained, tmp_path: Path
) -> None:
    """Nothing is calibrated, so nothing that asks for it is passed over."""
    options: dict[str, Any] = {option: "5"}
    with pytest.raises(BadOption, match=option):
        run(make_request(trained("llama"), "FP8", tmp_path, **options))


def test_several_targets_at_once_are_refused(trained: Trained, tmp_path: Path) -> None:
    """They would write files of the same names."""
    request = make_request(trained("llama"), "FP8", tmp_path)
    with pytest.raises(UnsupportedTarget, match="one target"):
        run(replace(request, targets=("FP8", "INT8")))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.norm.weight", None),
        ("model.embed_tokens.weight", None),
        ("model.norm.weight", (1, 128)),
        ("lm_head.weight", (1024, 64)),
        ("model.embed_tokens.weight", (128,)),
    ],
)
def test_ends_that_do_not_fit_are_refused_by_name(
    name: str, shape: tuple[int, ...] | None, trained: Trained, tmp_path: Path
) -> None:
    """What stands before the first layer or after the last is missing, or of another width."""
    from safetensors.torch import save_file

    folder = _copy(trained("llama"), tmp_path)
    tensors = load(folder)
    tensors.pop(name)
    if shape:
        tensors[name] = torch.zeros(shape, dtype=torch.bfloat16)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises((SourceIncomplete, MalformedWeights), match=name):
        run(make_request(folder, "FP8", tmp_path / "out"))


def test_layers_beyond_the_configuration_are_refused(trained: Trained, tmp_path: Path) -> None:
    """Neither dropped nor copied without a word."""
    folder = _copy(trained("llama"), tmp_path)
    edit_config(folder, num_hidden_layers=1)
    with pytest.raises(UnsupportedSource, match=r"beyond num_hidden_layers.*layers\.1\."):
        run(make_request(folder, "FP8", tmp_path / "out"))


def test_plan_writes_nothing(trained: Trained, tmp_path: Path) -> None:
    """A dry run tells the size and leaves the folder empty."""
    events = run(make_request(trained("llama"), "FP8", tmp_path, plan_only=True))
    assert [type(event) for event in events] == [Planned, Laid]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", [FP8, INT8])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_extreme_rows_stay_finite(scheme: EightBit, dtype: torch.dtype) -> None:
    """Rows of zeros, of tiny and of huge weights survive; the largest maps to the largest."""
    weight = torch.tensor([[0.0, 0.0], [6e-8, -6e-8], [60000.0, 1.0]], dtype=dtype)
    values, scale = scheme.quantize(weight)
    restored = values.float() * scale
    assert torch.isfinite(restored).all()
    assert torch.allclose(restored[:, 0], weight[:, 0].float(), rtol=0.07, atol=0)
    assert values[2, 0].float() == scheme.largest


def test_quantised_source_is_refused(trained: Trained, tmp_path: Path) -> None:
    """Quantising twice would lose twice."""
    run(make_request(trained("llama"), "FP8", tmp_path / "once"))
    with pytest.raises(UnsupportedSource, match="already quantised"):
        run(make_request(tmp_path / "once", "FP8", tmp_path / "twice"))


def test_float8_weights_without_a_word_in_the_config_are_refused(
    trained: Trained, tmp_path: Path
) -> None:
    """The weights' own types are looked at, whatever the configuration says."""
    run(make_request(trained("llama"), "FP8", tmp_path / "once"))
    path = tmp_path / "once" / "config.json"
    config = json.loads(path.read_text())
    del config["quantization_config"]
    path.write_text(json.dumps(config))
    with pytest.raises(UnsupportedSource, match="F8_E4M3"):
        run(make_request(tmp_path / "once", "FP8", tmp_path / "twice"))


def _copy(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))


def test_unknown_architecture_is_refused_with_the_known_ones(
    trained: Trained, tmp_path: Path
) -> None:
    """A wrong guess at names would load without a word."""
    folder = _copy(trained("llama"), tmp_path)
    edit_config(folder, architectures=["MambaForCausalLM"])
    with pytest.raises(UnsupportedArchitecture, match="MambaForCausalLM") as caught:
        run(make_request(folder, "FP8", tmp_path / "out"))
    assert "LlamaForCausalLM" in caught.value.hint


@pytest.mark.parametrize("layers", [0, -1, 10**9, "2", None, True])
def test_attack_layer_count_is_refused(trained: Trained, tmp_path: Path, layers: object) -> None:
    """A count from the configuration is bounded before anything is made of it."""
    folder = _copy(trained("llama"), tmp_path)
    edit_config(folder, num_hidden_layers=layers)
    with pytest.raises(UnsupportedSource, match="num_hidden_layers"):
        run(make_request(folder, "FP8", tmp_path / "out"))


def test_missing_layer_is_refused(trained: Trained, tmp_path: Path) -> None:
    """A layer that the configuration promises and the files lack is named."""
    folder = _copy(trained("llama"), tmp_path)
    edit_config(folder, num_hidden_layers=3)
    with pytest.raises(SourceIncomplete, match=r"model\.layers\.2\."):
        run(make_request(folder, "FP8", tmp_path / "out"))


def test_nan_is_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    """A broken checkpoint is not passed on."""
    from safetensors.torch import save_file

    folder = _copy(trained("llama"), tmp_path)
    tensors = load(folder)
    tensors["model.layers.0.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MalformedWeights, match=r"layers\.0\.mlp\.up_proj"):
        run(make_request(folder, "FP8", tmp_path / "out"))


@pytest.mark.parametrize("cut", [1, 1000])
def test_attack_truncated_weights_are_refused(trained: Trained, tmp_path: Path, cut: int) -> None:
    """Neither a short file nor a manifest that agrees with it is believed."""
    folder = _copy(trained("llama"), tmp_path)
    path = folder / "model.safetensors"
    request = make_request(folder, "FP8", tmp_path / "out")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SizeMismatch):
        run(request)
    with pytest.raises(MalformedWeights):
        run(make_request(folder, "FP8", tmp_path / "other"))


def test_attack_header_of_many_gigabytes_is_refused(trained: Trained, tmp_path: Path) -> None:
    """A claimed length is not allocated."""
    folder = _copy(trained("llama"), tmp_path)
    (folder / "model.safetensors").write_bytes((1 << 50).to_bytes(8, "little") + b"{}" * 100)
    with pytest.raises(MalformedWeights):
        run(make_request(folder, "FP8", tmp_path / "out"))


def test_attack_index_with_a_path_is_refused(trained: Trained, tmp_path: Path) -> None:
    """A weight map names files of the model, nothing else."""
    folder = _copy(trained("llama"), tmp_path)
    places = {"model.norm.weight": "../../etc/passwd"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(MalformedWeights, match="weight_map"):
        run(make_request(folder, "FP8", tmp_path / "out"))


def test_pickled_weights_are_refused(trained: Trained, tmp_path: Path) -> None:
    """Only safetensors are read."""
    folder = _copy(trained("llama"), tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedSource, match=r"not safetensors but pytorch_model\.bin"):
        run(make_request(folder, "FP8", tmp_path / "out"))


def test_unknown_target_is_refused(trained: Trained, tmp_path: Path) -> None:
    """The hint says what there is."""
    with pytest.raises(UnsupportedTarget, match="INT3"):
        run(make_request(trained("llama"), "INT3", tmp_path))


@pytest.mark.parametrize("text", ["fp8", "FP8", "fp8:FP8", "fp8:fp8", "int8"])
def test_single_type_needs_no_name(text: str) -> None:
    """--to fp8 is enough; the variant is :FP8."""
    name = text.partition(":")[0]
    assert Target.parse(text) == Target(converter=name.lower(), type=name.upper())


def test_all_converters_are_registered_as_this_package() -> None:
    """One program serves all names."""
    values = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    entries = values["project"]["entry-points"]["modelvault.converters"]
    names = {name for name, module in entries.items() if module == "modelvault_converters.awq"}
    assert names == {"awq", "fp8", "int8", "w4a16"}


def test_vault_converts_and_installs_for_vllm(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, the converter as a real child: the variant's folder is one vLLM reads."""
    monkeypatch.setattr(
        requests, "find_converter", lambda name: [sys.executable, "-m", "modelvault_converters.awq"]
    )
    files = {path.name: path.read_bytes() for path in trained("llama").iterdir()}
    source = FakeSource(ModelName.parse("acme/tiny"), files)
    root = tmp_path / "vault"
    plan = plan_pull(source, VaultPaths(root), include=(), exclude=())
    with Vault.open(root, create=True) as vault:
        pull(vault, plan, Silence())
        reference = Reference.parse("acme/tiny")
        done = verb.convert(vault, reference, [Target.parse("fp8")], ConvertOptions(), Silence())
        (artifact,) = done.artifacts
        assert (artifact.variant, artifact.format) == ("FP8", "safetensors")
        manifest = vault.manifest(artifact)
        assert {"LICENSE", "config.json", "model.safetensors"} <= {e.path for e in manifest.files}
        runtime = VllmRuntime()
        install = runtime.plan(
            artifact,
            manifest,
            vault.store,
            folder=tmp_path / "models",
            name=None,
            when=datetime(2026, 1, 1, tzinfo=UTC),
        )
        assert any("compressed-tensors" in note for note in install.notes)
        runtime.apply(install)
    assert (tmp_path / "models" / "acme" / "tiny-FP8" / "tokenizer.json").is_file()
