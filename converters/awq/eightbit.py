"""FP8 and INT8: 8-bit weights with a scale per output channel, activations scaled at run time.

Nothing is calibrated and nothing is held: a tensor streams from the source's file to the
result's, a block of rows at a time. Norms, embeddings and the output head stay as they are.

Source:
    https://github.com/vllm-project/compressed-tensors (float-quantized, int-quantized)
    Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433 (E4M3)
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from converters.awq.compressed import DYNAMIC, describe
from converters.awq.model import Model, write_side_files
from converters.awq.writer import CheckpointWriter, Output
from modelvault.core.protocol import Advanced, Event, Planned, Produced, Request

_SMALLEST_SCALE = 2.0**-100
"""Keeps the quotient finite for channels of zeros and of subnormal weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EightBit:
    """A type of eight bits."""

    target: str
    format: str
    """As compressed-tensors calls it."""
    kind: str
    """``float`` or ``int``."""
    dtype: str
    """As safetensors spells it."""
    largest: float
    """Largest magnitude that is used."""

    def quantize(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a weight in 8 bits and the scales of its rows.

        Args:
            weight: ``[out, in]``, bf16, f16 or f32.

        Returns:
            8-bit ``[out, in]`` and f32 ``[out, 1]``; their product approximates the weight.
        """
        values = weight.float()
        scale = values.abs().amax(dim=1, keepdim=True) / self.largest
        scale = scale.clamp(min=_SMALLEST_SCALE)
        scaled = (values / scale).clamp(-self.largest, self.largest)
        if self.kind == "int":
            return scaled.round().to(torch.int8), scale
        return scaled.to(torch.float8_e4m3fn), scale


FP8 = EightBit(target="FP8", format="float-quantized", kind="float", dtype="F8_E4M3", largest=448.0)
INT8 = EightBit(target="INT8", format="int-quantized", kind="int", dtype="I8", largest=127.0)


def convert_eight_bit(
    scheme: EightBit, model: Model, request: Request, stack: ExitStack
) -> Iterator[Event]:
    """Plan and write a checkpoint of eight bits; yield what happens.

    Raises:
        MalformedWeights: A weight is NaN or infinite.
    """
    outputs = list(_outputs(scheme, model))
    yield Planned(
        target=scheme.target,
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
            _write_linear(scheme, model, stored.name, writer)
        else:
            writer.write(stored.name, model.weights.blocks(stored.name))
        yield Advanced(target=scheme.target, done=writer.done)
    weights = writer.finish()
    bits = {"type": scheme.kind, "num_bits": 8}
    quantization = describe(
        model,
        format=scheme.format,
        weights={**bits, "strategy": "channel"},
        activations={**bits, **DYNAMIC},
    )
    side = write_side_files(model, folder, {"quantization_config": quantization})
    yield Produced(
        target=scheme.target,
        files=(*side, *weights),
        format="safetensors",
        quantization=scheme.target,
        tools={name: version(name) for name in ("torch", "safetensors")},
        parameters={"type": scheme.target, "weights": "channel", "activations": "token, dynamic"},
    )


def _outputs(scheme: EightBit, model: Model) -> Iterator[Output]:
    linears = set(model.linears())
    for stored in model.tensors():
        quantized = stored.name in linears
        dtype = scheme.dtype if quantized else stored.dtype
        yield Output(name=stored.name, dtype=dtype, shape=stored.shape)
        if quantized:
            yield Output(name=f"{stored.name}_scale", dtype="F32", shape=(stored.shape[0], 1))


def _write_linear(scheme: EightBit, model: Model, name: str, writer: CheckpointWriter) -> None:
    scales: list[torch.Tensor] = []

    def quantized() -> Iterator[torch.Tensor]:
        for block in model.weights.blocks(name):
            values, scale = scheme.quantize(block)
            scales.append(scale)
            yield values

    writer.write(name, quantized())
    writer.write(f"{name}_scale", scales)
