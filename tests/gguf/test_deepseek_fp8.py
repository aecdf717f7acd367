"""FP8 weights with a factor a block convert as the float32 weights they stand for."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from modelvault.errors import (
    MalformedWeights,
    ModelVaultError,
    SourceIncomplete,
    UnsupportedSource,
)
from modelvault_converters.gguf import fp8
from tests.gguf.running import convert, edit_json, make_request, plan, run
from tests.support.fp8 import (
    COMPRESSED,
    SCHEMES,
    SUFFIX,
    dequantize,
    dequantize_whole,
    quantize_fp8,
    quantize_fp8_whole,
)
from tests.support.tinymodel import make_tiny_llama


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a tiny FP8 model, whose widths are no multiple of the block everywhere."""
    make_tiny_llama(tmp_path / "fp8", hidden=320, intermediate=352)
    quantize_fp8(tmp_path / "fp8")
    return tmp_path / "fp8"


def test_every_byte_of_e4m3_has_the_value_torch_gives_it() -> None:
    """All 256 codes, NaN and the signs of zero included."""
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    assert np.array_equal(
        codes.view(np.uint32) & 0x80000000, fp8.VALUES.view(np.uint32) & 0x80000000
    )
    assert np.array_equal(codes, fp8.VALUES, equal_nan=True)


@pytest.mark.parametrize("target", ["F32", "BF16", "Q4_K_M"])
def test_fp8_converts_as_the_weights_it_stands_for(
    small: Path, tmp_path: Path, target: str
) -> None:
    """The file is, byte for byte, that of the model dequantised beforehand."""
    wide = Path(shutil.copytree(small, tmp_path / "wide" / small.name))
    dequantize(wide)
    made = convert(small, target, tmp_path / "a")
    assert made.read_bytes() == convert(wide, target, tmp_path / "b").read_bytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fp8_of_other_tools_converts_as_the_weights_it_stands_for(
    tmp_path: Path, scheme: str
) -> None:
    """A factor a matrix or a row, under the names and words of each tool."""
    folder = tmp_path / "fp8"
    make_tiny_llama(folder, hidden=320, intermediate=352)
    quantize_fp8_whole(folder, scheme)
    wide = Path(shutil.copytree(folder, tmp_path / "wide" / folder.name))
    dequantize_whole(wide, scheme)
    made = convert(folder, "Q4_K_M", tmp_path / "a")
    assert made.read_bytes() == convert(wide, "Q4_K_M", tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "weights",
    [{}, {"num_bits": 4}, {"type": "int"}, {"strategy": "group"}, None],
    ids=str,
)
def test_compressed_weights_of_another_kind_are_refused(
    tmp_path: Path, weights: dict[str, Any] | None
) -> None:
    """Integers, four bits and groups are named as quantised, not read as something else."""
    folder = tmp_path / "fp8"
    make_tiny_llama(folder, hidden=320, intermediate=352)
    plain = {"num_bits": 8, "type": "float", "strategy": "channel"}
    changed = COMPRESSED | {"config_groups": {"a": {"weights": weights and plain | weights}}}
    config = COMPRESSED | {"config_groups": {}} if weights == {} else changed
    edit_json(folder / "config.json", lambda value: value.update(quantization_config=config))
    with pytest.raises(UnsupportedSource, match="already quantised"):
        plan(folder)


def test_slices_that_begin_within_a_block_are_scaled_right(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rows are cut for the threads, the bytes are the same."""
    whole = convert(small, "F32", tmp_path / "whole").read_bytes()
    monkeypatch.setattr("modelvault_converters.gguf.stream.SLICE", 7 * 320)
    assert convert(small, "F32", tmp_path / "cut").read_bytes() == whole


def _change(
    name: str, change: Callable[[torch.Tensor], torch.Tensor | None]
) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        value = change(tensors.pop(name))
        if value is not None:
            tensors[name] = value
        save_file(tensors, folder / "model.safetensors")

    return apply


def _announce(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(
        folder / "config.json", lambda config: config["quantization_config"].update(changes)
    )


def _poison(weights: torch.Tensor) -> torch.Tensor:
    codes = weights.view(torch.uint8).clone()
    codes[3, 5] = 0xFF
    return codes.view(torch.float8_e4m3fn)


WEIGHT = "model.layers.1.self_attn.o_proj.weight"
FACTORS = WEIGHT + SUFFIX


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_change(FACTORS, lambda _: None), SourceIncomplete, f"{FACTORS}' is missing"),
        (_change(FACTORS, lambda value: value[:1]), UnsupportedSource, "has shape"),
        (_change(FACTORS, lambda value: value.to(torch.int32)), UnsupportedSource, "type I32"),
        (_change(FACTORS, lambda value: value * torch.nan), MalformedWeights, "NaN or infinity"),
        (
            _change(FACTORS, lambda value: torch.full_like(value, 3e38)),
            MalformedWeights,
            "infinite once scaled",
        ),
        (_change(WEIGHT, _poison), MalformedWeights, "row 3, column 5"),
        (_change(WEIGHT, lambda value: value[None]), UnsupportedSource, "not a matrix's"),
        (_announce(weight_block_size=[128]), UnsupportedSource, "not two sizes"),
        (_announce(weight_block_size=[0, 128]), UnsupportedSource, "not two sizes"),
        (_announce(weight_block_size=[128, 1 << 40]), UnsupportedSource, "not two sizes"),
        (_announce(fmt="e5m2"), UnsupportedSource, "not e4m3"),
        (_announce(weight_block_size=None), UnsupportedSource, "has shape"),
        (
            _announce(quant_method="compressed-tensors", format="pack-quantized"),
            UnsupportedSource,
            "already quantised",
        ),
        (_announce(quant_method="gptq"), UnsupportedSource, "already quantised"),
    ],
)
def test_fp8_that_does_not_add_up_is_refused(
    small: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    error: type[ModelVaultError],
    message: str,
) -> None:
    """Missing, misshapen or poisoned factors and weights are named, and no file is left."""
    change(small)
    output = tmp_path / "out"
    with pytest.raises(error) as caught:
        run(make_request(small, ["F32"], output))
    assert message in str([caught.value, *caught.value.issues])
    assert list(output.iterdir()) == []
