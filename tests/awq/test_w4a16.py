"""W4A16 folders: the same search, symmetric, packed as compressed-tensors reads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modelvault.core.protocol import Laid, Planned
from modelvault.errors import UnsupportedSource
from modelvault_converters.awq.formats.packing import (
    IN_TURN,
    decode_symmetric,
    encode_symmetric,
    pack,
    quantize_symmetric,
    unpack,
)
from tests.awq.running import make_request, produced, run
from tests.awq.weights import TEXT, Tensors
from tests.support.trainedmodel import Family, divergence, encode, load, logits, train_model

Trained = Callable[[Family], Path]
FAMILIES: tuple[Family, ...] = ("llama", "gemma2", "phi3", "qwen2_moe")


def dequantize(folder: Path) -> Tensors:
    """Return the weights that a server computes with."""
    tensors = load(folder)
    for name in [name for name in tensors if name.endswith(".weight_packed")]:
        linear = name.removesuffix("_packed")
        shape = tensors.pop(f"{linear}_shape")
        weight = decode_symmetric(tensors.pop(name), tensors.pop(f"{linear}_scale"))
        assert list(weight.shape) == shape.tolist()
        tensors[linear] = weight
    return tensors


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_family_beats_plain_rounding_by_far(
    family: Family, trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """Packed and unpacked, the folder is as near to its source as the report says."""
    source = trained(family)
    request = make_request(source, "W4A16", tmp_path, calibration=str(corpus), samples="32")
    result = produced(run(request))
    assert (result.format, result.quantization) == ("safetensors", "W4A16")
    reported = {key: float(result.parameters[f"kl.{key}"]) for key in ("rtn", "w4a16")}
    assert 0 < reported["w4a16"] < reported["rtn"] / 2
    tokens = encode(source, TEXT)[None]
    expected = logits(source, tokens, load(source))
    ours = divergence(expected, logits(tmp_path, tokens, dequantize(tmp_path)))
    assert 0 < ours < reported["rtn"]
    ignored = json.loads((tmp_path / "config.json").read_text())["quantization_config"]["ignore"]
    assert ("model.layers.1.mlp.shared_expert_gate" in ignored) == (family == "qwen2_moe")


def test_wrong_packing_is_caught_by_the_comparison(
    trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """The negative control: AWQ's order of nibbles answers differently."""
    source = trained("llama")
    run(make_request(source, "W4A16", tmp_path, calibration=str(corpus), samples="32"))
    tokens = encode(source, TEXT)[None]
    expected = logits(source, tokens, load(source))
    right = divergence(expected, logits(tmp_path, tokens, dequantize(tmp_path)))
    tensors = load(tmp_path)
    for name in [name for name in tensors if name.endswith(".weight_packed")]:
        linear = name.removesuffix("_packed")
        tensors.pop(f"{linear}_shape")
        repacked = pack(unpack(tensors.pop(name)), IN_TURN)
        tensors[linear] = decode_symmetric(repacked, tensors.pop(f"{linear}_scale"))
    assert divergence(expected, logits(tmp_path, tokens, tensors)) > 20 * right


def test_packing_is_what_compressed_tensors_packs() -> None:
    """A vector made with compressed-tensors 0.20: -8 … 7 along the inputs, lowest bits first."""
    weight = torch.arange(-8.0, 8.0).repeat(2, 2)
    weight[1] = weight[1].flip(0)
    quantized = quantize_symmetric(weight, 32)
    scales = torch.full((2, 1), 8 * 2 / 15).half()
    assert torch.equal(quantized.scales, scales)
    exact = quantize_symmetric(weight * scales.float(), 32, torch.tensor([[7.5 / 8], [7.5 / 8]]))
    packed = encode_symmetric(exact)["weight_packed"]
    first, second = 0x76543210, 0xFEDCBA98 - (1 << 32)
    assert packed.tolist() == [
        [first, second, first, second],
        [0x89ABCDEF - (1 << 32), 0x01234567, 0x89ABCDEF - (1 << 32), 0x01234567],
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("low", [-1.0, 0.5, -3.0])
def test_rounding_errs_by_half_a_step_at_most(low: float, dtype: torch.dtype) -> None:
    """Also for the largest weight of a group, on either side; scales are of the type asked."""
    torch.manual_seed(1)
    weight = torch.rand(16, 256) + low
    quantized = quantize_symmetric(weight, 128, dtype=dtype)
    assert quantized.scales.dtype == dtype
    wrong = (quantized.dequantize() - weight).abs().unflatten(1, (-1, 128)).amax(-1)
    assert (wrong <= quantized.scales.float() * 0.54).all()
    assert torch.equal(quantize_symmetric(torch.zeros(8, 32), 32).dequantize(), torch.zeros(8, 32))


def test_result_holds_what_a_server_reads(trained: Trained, tmp_path: Path) -> None:
    """Names, types, shapes and configuration are those of pack-quantized; the plan knew them."""
    source = trained("llama")
    events = run(make_request(source, "W4A16", tmp_path, sequence_length="64"))
    tensors, original = load(tmp_path), load(source)
    name = "model.layers.1.mlp.down_proj"
    assert tensors[f"{name}.weight_packed"].shape == (128, 32)
    assert tensors[f"{name}.weight_packed"].dtype == torch.int32
    assert tensors[f"{name}.weight_scale"].shape == (128, 2)
    assert tensors[f"{name}.weight_scale"].dtype == torch.bfloat16
    assert tensors[f"{name}.weight_shape"].tolist() == [128, 256]
    for kept in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        assert torch.equal(tensors[kept], original[kept])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config["quantization_config"]["format"] == "pack-quantized"
    group = config["quantization_config"]["config_groups"]["group_0"]
    assert group["input_activations"] is None
    assert group["weights"] == {
        "type": "int",
        "num_bits": 4,
        "strategy": "group",
        "group_size": 128,
        "symmetric": True,
        "dynamic": False,
    }
    (plan,) = [event for event in events if isinstance(event, Planned)]
    assert plan.size == sum(value.nbytes for value in tensors.values())


def test_widths_that_awq_cannot_pack_are_taken(tmp_path: Path) -> None:
    """Packed along the inputs, outputs may be of any number; inputs may not."""
    train_model(tmp_path / "odd", steps=1, intermediate=132)
    with pytest.raises(UnsupportedSource, match="inputs"):
        run(make_request(tmp_path / "odd", "W4A16", tmp_path / "out"))
    with pytest.raises(UnsupportedSource, match="outputs") as caught:
        run(make_request(tmp_path / "odd", "AWQ", tmp_path / "no"))
    assert "w4a16" in caught.value.hint


@pytest.mark.parametrize("target", ["AWQ", "FP8", "INT8", "W4A16"])
def test_plan_tells_where_every_tensor_will_lie(
    target: str, trained: Trained, tmp_path: Path
) -> None:
    """Offsets and sizes are those of the files that are written."""
    source = trained("llama")
    calibrated = target in ("AWQ", "W4A16")
    options: dict[str, Any] = {"sequence_length": "64"} if calibrated else {}
    planned = run(make_request(source, target, tmp_path / "plan", plan_only=True, **options))
    assert list((tmp_path / "plan").iterdir()) == []
    laid = [item for event in planned if isinstance(event, Laid) for item in event.tensors]
    run(make_request(source, target, tmp_path / "out", **options))
    written = load(tmp_path / "out")
    assert {item.name for item in laid} == written.keys()
    assert [item.offset for item in laid] == sorted(item.offset for item in laid)
    for item in laid:
        data = (tmp_path / "out" / item.file).read_bytes()[item.offset :][: item.size]
        value = written[item.name]
        assert item.shape == tuple(value.shape)
        assert data == value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
