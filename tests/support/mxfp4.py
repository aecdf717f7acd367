"""Experts of gpt-oss in MXFP4, as OpenAI stores them, and what they stand for.

Example:
    >>> pack_experts(Path("/tmp/tiny"), Path("/tmp/wide"))
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_GROUP = 32


def pack_experts(folder: Path, wide: Path) -> None:
    """Store a model's experts in MXFP4; write the same values in 16 bits into ``wide``.

    Args:
        folder: A gpt-oss model in 16 bits, changed in place.
        wide: Created: the model that the packed one stands for.
    """
    shutil.copytree(folder, wide)
    tensors = load_file(folder / "model.safetensors")
    plain = dict(tensors)
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        rows = tensors.pop(name).float().transpose(1, 2)
        blocks, scales, values = _pack(rows)
        tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = blocks, scales
        plain[name] = values.transpose(1, 2).to(torch.bfloat16).contiguous()
    save_file(tensors, folder / "model.safetensors")
    save_file(plain, wide / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(config))


def _pack(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return blocks, scales and values of ``[experts, rows, columns]``."""
    groups = rows.reshape(*rows.shape[:2], -1, _GROUP)
    exponents = torch.floor(torch.log2(groups.abs().amax(-1).clamp_min(1e-20))) - 2
    scaled = groups / torch.exp2(exponents)[..., None]
    codes = (scaled.abs()[..., None] - _VALUES).abs().argmin(-1)
    signs = (scaled < 0).to(torch.uint8)
    values = _VALUES[codes] * (1 - 2 * signs.float()) * torch.exp2(exponents)[..., None]
    nibbles = codes.to(torch.uint8) | signs << 3
    blocks = nibbles[..., 0::2] | nibbles[..., 1::2] << 4
    scales = (exponents + 127).to(torch.uint8)
    return blocks.contiguous(), scales.contiguous(), values.reshape(rows.shape)
