"""FP8 and INT8: 8-bit weights with a scale per output channel, activations scaled at run time.

Nothing is calibrated and nothing is held: a tensor streams from the source's file to the
result's, a block of rows at a time. Norms, embeddings and the output head stay as they are.

Source:
    https://github.com/vllm-project/compressed-tensors (float-quantized, int-quantized)
    Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433 (E4M3)
"""

from collections.abc import Iterator
from functools import partial
from importlib.metadata import version

import torch

from modelvault.core.protocol import Advanced, Event, Produced
from modelvault_converters.awq.capacity import foresee, require_space
from modelvault_converters.awq.formats.compressed import DYNAMIC, describe
from modelvault_converters.awq.formats.outputs import OutputTensor, plan_checkpoint
from modelvault_converters.awq.formats.scheme import EightBit
from modelvault_converters.awq.formats.sidefiles import write_side_files
from modelvault_converters.awq.formats.writer import CheckpointWriter
from modelvault_converters.awq.job import Job, plan
from modelvault_converters.awq.journal import sweep
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.report.trial import check_eight_bit


def convert_eight_bit(scheme: EightBit, job: Job) -> Iterator[Event]:
    """Plan and write a checkpoint of eight bits; yield what happens.

    Raises:
        MalformedWeights: A weight is NaN or infinite.
        NoSpace: The result does not fit on the disk.
        CheckFailed: It is to be compared with its source, and is further off than allowed.
    """
    model, folder = job.model, job.folder
    planned = plan_checkpoint(_outputs(scheme, model), job.shard)
    yield from plan(scheme.target, planned, job)
    space = partial(require_space, folder, planned.footprint)
    if job.request.plan_only:
        yield from foresee(space)
        return
    sweep(folder)
    space()
    report: dict[str, str] = {}
    if job.options.check:
        report = yield from check_eight_bit(scheme, job)
    writer = CheckpointWriter(folder, planned, job.stack)
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
        tools={"torch": version("torch")},
        parameters={
            "type": scheme.target,
            "weights": "channel",
            "activations": "token, dynamic",
            **report,
        },
    )


def _outputs(scheme: EightBit, model: Model) -> Iterator[OutputTensor]:
    linears = set(model.linears())
    for stored in model.tensors():
        quantized = stored.name in linears
        dtype = scheme.dtype if quantized else stored.dtype
        yield OutputTensor(name=stored.name, dtype=dtype, shape=stored.shape)
        if quantized:
            yield OutputTensor(name=f"{stored.name}_scale", dtype="F32", shape=(stored.shape[0], 1))


def _write_linear(scheme: EightBit, model: Model, name: str, writer: CheckpointWriter) -> None:
    scales: list[torch.Tensor] = []

    def quantized() -> Iterator[torch.Tensor]:
        for block in model.weights.blocks(name):
            values, scale = scheme.quantize(block)
            scales.append(scale)
            yield values

    writer.write(name, quantized())
    writer.write(f"{name}_scale", scales)
