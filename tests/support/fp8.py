"""Checkpoints in FP8 with their factors, as DeepSeek-V3 and others are published, and back."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

SUFFIX = "_scale_inv"
BLOCK = 128


def quantize_fp8(folder: Path, *, block: int = BLOCK) -> None:
    """Turn every projection of a checkpoint into FP8 with factors; announce it."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if "_proj" not in name or value.dim() != 2:
            tensors[name] = value
            continue
        wide = value.float()
        rows, columns = wide.shape
        grid = -(-rows // block), -(-columns // block)
        padded = torch.zeros(grid[0] * block, grid[1] * block)
        padded[:rows, :columns] = wide
        blocks = padded.view(grid[0], block, grid[1], block)
        factors = blocks.abs().amax(dim=(1, 3)).clamp_min(1e-8) / 448
        scaled = (blocks / factors[:, None, :, None]).view_as(padded)[:rows, :columns]
        tensors[name] = scaled.to(torch.float8_e4m3fn).contiguous()
        tensors[name + SUFFIX] = factors
    save_file(tensors, folder / "model.safetensors")
    announced = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [block, block]}
    _configure(folder, announced)


COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
        }
    },
}
"""What llm-compressor announces; the strategy may be another."""

SCHEMES: dict[str, tuple[str, int | None, dict[str, Any]]] = {
    "fp8, a factor a matrix": ("_scale_inv", None, {"quant_method": "fp8"}),
    "compressed-tensors, a factor a row": ("_scale", 1, COMPRESSED),
    "modelopt": ("_scale", None, {"quant_method": "modelopt", "quant_algo": "FP8"}),
}
"""Scheme → suffix of the factors, dimension they are taken over, what ``config.json`` says."""


def quantize_fp8_whole(folder: Path, scheme: str) -> None:
    """Turn every projection into FP8 with a factor for the matrix or for each row.

    Args:
        folder: The checkpoint.
        scheme: Key of ``SCHEMES``.
    """
    suffix, dimension, announced = SCHEMES[scheme]
    tensors: dict[str, torch.Tensor] = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if "_proj" not in name or value.dim() != 2:
            tensors[name] = value
            continue
        wide = value.float()
        largest = wide.abs().max() if dimension is None else wide.abs().amax(1, keepdim=True)
        factors = (largest / 448).to(torch.float32 if dimension is None else torch.bfloat16)
        tensors[name] = (wide / factors.float()).to(torch.float8_e4m3fn).contiguous()
        tensors[name + suffix] = factors
        tensors[name.removesuffix("weight") + "input_scale"] = torch.tensor(1.5)
    save_file(tensors, folder / "model.safetensors")
    _configure(folder, announced)


def dequantize_whole(folder: Path, scheme: str) -> None:
    """Turn what ``quantize_fp8_whole`` made into the float32 that it stands for, by torch."""
    suffix = SCHEMES[scheme][0]
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("input_scale")]:
        del tensors[name]
    for name in [name for name in tensors if name.endswith(suffix)]:
        factors = tensors.pop(name).float()
        tensors[name.removesuffix(suffix)] = tensors[name.removesuffix(suffix)].float() * factors
    save_file(tensors, folder / "model.safetensors")
    _configure(folder, None)


def dequantize(folder: Path, *, block: int = BLOCK) -> None:
    """Turn FP8 with factors into the float32 that it stands for, by torch."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(SUFFIX)]:
        factors = tensors.pop(name)
        weights = tensors[name.removesuffix(SUFFIX)]
        rows, columns = weights.shape
        wide = factors.repeat_interleave(block, 0).repeat_interleave(block, 1)
        tensors[name.removesuffix(SUFFIX)] = weights.float() * wide[:rows, :columns]
    save_file(tensors, folder / "model.safetensors")
    _configure(folder, None)


def _configure(folder: Path, announced: dict[str, Any] | None) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = announced
    path.write_text(json.dumps(config))
