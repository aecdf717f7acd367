"""FP8: 8-bit float weights with a scale per output channel, activations scaled at run time.

Nothing is calibrated and nothing is held: a tensor streams from the source's file to the
result's, a block of rows at a time. Norms, embeddings and the output head stay as they are.

Source:
    https://github.com/vllm-project/compressed-tensors (float-quantized)
    Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433 (E4M3)
"""

from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from converters.awq.model import Model, write_side_files
from converters.awq.writer import CheckpointWriter, Output
from modelvault.core.protocol import Advanced, Event, Planned, Produced, Request

TARGET = "FP8"
LARGEST = 448.0
"""Largest finite value of E4M3."""

_SMALLEST_SCALE = 2.0**-100
"""Keeps the quotient finite for channels of zeros and of subnormal weights."""

QUANTIZATION: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "type": "float",
                "num_bits": 8,
                "strategy": "channel",
                "symmetric": True,
                "dynamic": False,
            },
            "input_activations": {
                "type": "float",
                "num_bits": 8,
                "strategy": "token",
                "symmetric": True,
                "dynamic": True,
            },
            "output_activations": None,
        }
    },
}
"""``quantization_config`` of the result."""


def convert_fp8(model: Model, request: Request, stack: ExitStack) -> Iterator[Event]:
    """Plan and write an FP8 checkpoint; yield what happens.

    Raises:
        MalformedWeights: A weight is NaN or infinite.
    """
    outputs = list(_outputs(model))
    yield Planned(
        target=TARGET,
        size=sum(output.size for output in outputs),
        tensors=len(outputs),
        parameters=model.parameters,
    )
    if request.plan_only:
        return
    folder = Path(request.output)
    writer = CheckpointWriter(folder, outputs, stack)
    linears = set(model.linears())
    for stored in model.tensors():
        if stored.name in linears:
            _write_linear(model, stored.name, writer)
        else:
            writer.write(stored.name, model.weights.blocks(stored.name))
        yield Advanced(target=TARGET, done=writer.done)
    weights = writer.finish()
    side = write_side_files(model, folder, {"quantization_config": QUANTIZATION})
    yield Produced(
        target=TARGET,
        files=(*side, *weights),
        format="safetensors",
        quantization=TARGET,
        tools={name: version(name) for name in ("torch", "safetensors")},
        parameters={"type": TARGET, "weights": "channel", "activations": "token, dynamic"},
    )


def quantize_fp8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight in 8 bits and the scales of its rows.

    Args:
        weight: ``[out, in]``, bf16, f16 or f32.

    Returns:
        E4M3 ``[out, in]`` and f32 ``[out, 1]``; their product approximates the weight.
    """
    values = weight.float()
    scale = (values.abs().amax(dim=1, keepdim=True) / LARGEST).clamp(min=_SMALLEST_SCALE)
    scaled = (values / scale).clamp(-LARGEST, LARGEST)
    return scaled.to(torch.float8_e4m3fn), scale


def _outputs(model: Model) -> Iterator[Output]:
    linears = set(model.linears())
    for stored in model.tensors():
        quantized = stored.name in linears
        dtype = "F8_E4M3" if quantized else stored.dtype
        yield Output(name=stored.name, dtype=dtype, shape=stored.shape)
        if quantized:
            yield Output(name=f"{stored.name}_scale", dtype="F32", shape=(stored.shape[0], 1))


def _write_linear(model: Model, name: str, writer: CheckpointWriter) -> None:
    scales: list[torch.Tensor] = []

    def quantized() -> Iterator[torch.Tensor]:
        for block in model.weights.blocks(name):
            values, scale = quantize_fp8(block)
            scales.append(scale)
            yield values

    writer.write(name, quantized())
    writer.write(f"{name}_scale", scales)
