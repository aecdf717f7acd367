"""Whose weights a file holds, by its name: copies of one model, and parts of one set."""

import pytest

from modelvault.core.model_files import WeightFormat, is_consolidated, is_gguf_model
from modelvault.core.weight_names import (
    exported_models,
    missing_parts,
    parse_part,
    parse_weights,
)


@pytest.mark.parametrize(
    ("path", "family", "variant"),
    [
        ("model.safetensors", "model", ""),
        ("MODEL-00001-of-00002.safetensors", "model", ""),
        ("model.safetensors.index.json", "model", ""),
        ("model.safetensors.index.fp16.json", "model", "fp16"),
        ("model.fp16-00001-of-00002.safetensors", "model", "fp16"),
        ("model-00001-of-00002.fp16.safetensors", "model", "fp16"),
        ("pytorch_model.bin", "model", ""),
        ("PyTorch_Model.BIN", "model", ""),
        ("pytorch_model.bin.index.json", "model", ""),
        ("tf_model.h5", "model", ""),
        ("flax_model-00001-of-00002.msgpack", "model", ""),
        ("rust_model.ot", "model", ""),
        ("model.onnx", "model", ""),
        ("model.onnx_data", "model", ""),
        ("model.onnx.data", "model", ""),
        ("64-8bits.tflite", "model", ""),
        ("diffusion_pytorch_model.bin", "diffusion_model", ""),
        ("diffusion_flax_model.msgpack", "diffusion_model", ""),
        ("open_clip_pytorch_model.bin", "open_clip_model", ""),
        ("adapter_model.bin", "adapter_model", ""),
        ("speakers.pt", "speakers", ""),
        ("model.bin", "model.bin", ""),
        ("voices.npz", "voices", ""),
    ],
)
def test_names_of_all_frameworks_lead_to_one_family(path: str, family: str, variant: str) -> None:
    """What another framework calls the same weights; anything else is a family of its own."""
    found = parse_weights(f"unet/{path}")
    assert found is not None
    assert (found.folder, found.family, found.variant) == ("unet", family, variant)


@pytest.mark.parametrize("path", ["config.json", "README.md", "bin", "model.safetensors/x.txt"])
def test_what_holds_no_weights_has_no_family(path: str) -> None:
    """Nor is it ever a copy."""
    assert parse_weights(path) is None


def test_export_folder_counts_whole_or_not_at_all() -> None:
    """One model of another name in it, and everything in it is a model of its own."""
    known = ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/decoder_with_past_model_int8.onnx"]
    assert sorted(exported_models(known)) == sorted(known)
    assert {name.folder for name in exported_models(known).values()} == {""}
    assert exported_models([*known, "onnx/vad.onnx"]) == {}
    assert exported_models(["onnx/model.safetensors"]) == {}
    (nested,) = exported_models(["unet/onnx/model.onnx"]).values()
    assert (nested.folder, nested.format) == ("unet", WeightFormat.ONNX)


def test_parts_that_are_missing_are_named() -> None:
    """Of any format, and of sets that count from nought."""
    assert missing_parts(["a/m-00002-of-00003.gguf", "x.gguf", "config.json"]) == {
        "a/m-*-of-00003.gguf": ["a/m-00001-of-00003.gguf", "a/m-00003-of-00003.gguf"]
    }
    assert missing_parts(["m-00000-of-00002.bin", "m-00001-of-00002.bin"]) == {}
    assert missing_parts(["m-00001-of-00002.bin"]) == {"m-*-of-00002.bin": ["m-00002-of-00002.bin"]}
    assert missing_parts(["m-00001-of-00001.safetensors"]) == {}


@pytest.mark.parametrize(
    "path",
    ["train-00001-of-00002.parquet", "m-00003-of-00002.gguf", "m-00001-of-00000.gguf",
     "m-00001-of-99999.gguf", "m-1-of-2.gguf"],
)  # fmt: skip
def test_numbers_that_make_no_set_are_a_name_like_any_other(path: str) -> None:
    """Hostile names make no long lists."""
    assert parse_part(path) is None


def test_files_beside_gguf_models_are_none() -> None:
    """A projector and an importance matrix hold no model; a vocabulary is not consolidated."""
    assert is_gguf_model("m-Q4_K_M.gguf")
    assert not is_gguf_model("m.imatrix.gguf")
    assert not is_gguf_model("imatrix_unsloth.gguf")
    assert not is_gguf_model("m-mmproj-f16.gguf")
    assert is_consolidated("consolidated.00.pth")
    assert is_consolidated("consolidated-00001-of-00002.safetensors")
    assert not is_consolidated("consolidated_vocabulary.bin")
