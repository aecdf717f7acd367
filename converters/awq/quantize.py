"""AWQ: four-bit weights, one decoder layer in memory at a time.

For each layer: run the calibration sequences through it and note what enters each linear;
write the outputs as the next layer's inputs; search scales and fold them into the norm or
linear before; search ranges; round, pack, write, drop.

Source: Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from converters.awq import packing
from converters.awq.activations import Activations
from converters.awq.calibration import Calibration, read_calibration, read_number
from converters.awq.layers import LayerRunner
from converters.awq.model import Model, write_side_files
from converters.awq.observe import Observer
from converters.awq.quality import Quality, compare_predictions
from converters.awq.rounding import Settings, round_awq, round_plainly
from converters.awq.writer import CheckpointWriter, Output
from modelvault.core.protocol import Advanced, Event, Planned, Produced, Request
from modelvault.errors import BadOption, MalformedWeights, UnsupportedSource, UnsupportedTokenizer

TARGET = "AWQ"
GROUPS = (128, 64, 32)

State = dict[str, torch.Tensor]


def convert_awq(model: Model, request: Request, stack: ExitStack) -> Iterator[Event]:
    """Plan and write an AWQ checkpoint; yield what happens.

    Raises:
        UnsupportedSource: The shapes do not fit groups, or the configuration is unusable.
        BadOption: An option or the calibration text is not acceptable.
        MalformedWeights: A weight is NaN, infinite or beyond f16.
    """
    group = _choose_group(model, request)
    outputs = list(_outputs(model, group))
    size = sum(output.size for output in outputs)
    yield Planned(target=TARGET, size=size, tensors=len(outputs), parameters=model.parameters)
    if request.plan_only:
        return
    runner = LayerRunner(model)
    calibration = read_calibration(model, request, runner.longest)
    folder = Path(request.output)
    writer = CheckpointWriter(folder, outputs, stack)
    passage = _Passage(model, runner, calibration, folder, stack)
    for number in range(model.layers):
        passage.advance(number, group, writer)
        yield Advanced(target=TARGET, done=writer.done)
    passage.finish()
    for stored in model.tensors():
        if not _layer_of(stored.name):
            blocks = model.weights.blocks(stored.name)
            writer.write(stored.name, (_to_half(block, stored.name) for block in blocks))
            yield Advanced(target=TARGET, done=writer.done)
    weights = writer.finish()
    side = write_side_files(model, folder, _changes(model, group))
    yield Produced(
        target=TARGET,
        files=(*side, *weights),
        format="safetensors",
        quantization=TARGET,
        tools={name: version(name) for name in ("safetensors", "torch", "transformers")},
        parameters={
            "type": TARGET,
            "group_size": str(group),
            "calibration": calibration.digest,
            "samples": str(len(calibration.samples)),
            "sequence_length": str(calibration.length),
            "seed": request.options.get("seed", "0"),
            **passage.quality.encode(),
        },
    )


class _Passage:
    """The sequences on their way through the layers, and what was learnt underway."""

    def __init__(
        self,
        model: Model,
        runner: LayerRunner,
        calibration: Calibration,
        folder: Path,
        stack: ExitStack,
    ) -> None:
        self.quality = Quality()
        self._model = model
        self._runner = runner
        self._held_out = calibration.held_out

        def store(name: str, sequences: tuple[torch.Tensor, ...]) -> Activations:
            path = folder / f"{name}.activations"
            made = Activations(path, len(sequences), calibration.length, model.hidden)
            stack.callback(made.close)
            for number, hidden in enumerate(_embed(model, sequences)):
                made.write(number, hidden)
            return made

        self._samples = store("samples", calibration.samples)
        self._kept = {name: store(name, calibration.held_out) for name in ("source", "rtn", "awq")}

    def advance(self, number: int, group: int, writer: CheckpointWriter) -> None:
        """Take everything through one layer; write that layer's tensors."""
        prefix, groups = f"model.layers.{number}.", self._model.groups(number)
        state = self._runner.read(number)
        layer = self._runner.load(number, state)
        observer = Observer(groups, self._samples.count, group)
        with observer.watching(layer):
            self._run(layer, self._samples)
        self._run(layer, self._kept["source"])
        settings = Settings(rounder=partial(_round, group=group), heads=self._model.heads)
        round_plainly(state, groups, settings.rounder)
        self._run(layer, self._kept["rtn"])
        del layer, state
        state = self._runner.read(number)
        rounded = round_awq(state, observer.inputs(), groups, settings)
        self._run(self._runner.load(number, state), self._kept["awq"])
        self.quality.layers.append((rounded.plain_error, rounded.error))
        for name, quantized in rounded.linears.items():
            for part, value in packing.encode(quantized).items():
                writer.write(f"{prefix}{name}.{part}", [value])
        for name, value in state.items():
            if name.removesuffix(".weight") not in rounded.linears:
                writer.write(f"{prefix}{name}", [_to_half(value, f"{prefix}{name}")])

    def finish(self) -> None:
        """Compare the predictions for the held-out text."""
        compare_predictions(self._model, self._kept, self._held_out, self.quality)

    def _run(self, layer: torch.nn.Module, sequences: Activations) -> None:
        for number in range(sequences.count):
            sequences.write(number, self._runner.run(layer, sequences.read(number)))


def _embed(model: Model, sequences: tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
    """Yield the embeddings of sequences, f32 ``[length, hidden]``; one pass over the matrix."""
    name = "model.embed_tokens.weight"
    if name not in model.weights.tensors or len(model.weights.tensors[name].shape) != 2:
        raise MalformedWeights(f"{name}: missing, or no matrix")
    tokens, places = torch.unique(torch.cat(sequences), return_inverse=True)
    rows, width = model.weights.tensors[name].shape
    if int(tokens[-1]) >= rows or width != model.hidden:
        raise UnsupportedTokenizer(
            f"token {int(tokens[-1])} has no row in {name}, which is {rows} x {width}",
            hint="tokenizer and weights are of different models",
        )
    factor = model.family.embedding_scale(width)
    found = torch.empty((len(tokens), width))
    start = 0
    for block in model.weights.blocks(name):
        inside = (tokens >= start) & (tokens < start + len(block))
        found[inside] = block[tokens[inside] - start].float() * factor
        start += len(block)
    for part in places.split([len(sequence) for sequence in sequences]):
        yield found[part]


def _round(weight: torch.Tensor, shrink: torch.Tensor | None, group: int) -> packing.Quantized:
    return packing.quantize(weight, group, shrink)


def _layer_of(name: str) -> bool:
    return name.startswith("model.layers.")


def _to_half(value: torch.Tensor, name: str) -> torch.Tensor:
    half = value.half()
    if not bool(torch.isfinite(half).all()):
        raise MalformedWeights(
            f"tensor '{name:.200}' does not fit f16, which AWQ kernels need",
            hint="convert to FP8 instead: --to fp8",
        )
    return half


def _choose_group(model: Model, request: Request) -> int:
    shapes = [(name, model.weights.tensors[name].shape) for name in model.linears()]
    odd = [f"{name}: {shape[0]} outputs" for name, shape in shapes if shape[0] % packing.PACKED]
    if odd:
        raise UnsupportedSource(
            f"{odd[0]} are no multiple of {packing.PACKED}", hint="--to fp8 takes it", issues=odd
        )
    allowed: tuple[int, ...] = GROUPS
    if "group_size" in request.options:
        allowed = (read_number(request, "group_size", GROUPS[0], most=GROUPS[0]),)
        if allowed[0] not in GROUPS:
            raise BadOption(f"--group-size {allowed[0]}: not one of 128, 64, 32")
    for group in allowed:
        if all(shape[1] % group == 0 for _, shape in shapes):
            return group
    odd = [f"{name}: {shape[1]} inputs" for name, shape in shapes if shape[1] % allowed[-1]]
    raise UnsupportedSource(
        f"{odd[0]} are no multiple of {allowed[-1]}", hint="--to fp8 takes it", issues=odd[:100]
    )


def _outputs(model: Model, group: int) -> Iterator[Output]:
    linears = set(model.linears())
    for stored in model.tensors():
        if stored.name not in linears:
            yield Output(name=stored.name, dtype="F16", shape=stored.shape)
            continue
        out, width = stored.shape
        name = stored.name.removesuffix(".weight")
        packed = out // packing.PACKED
        yield Output(name=f"{name}.qweight", dtype="I32", shape=(width, packed))
        yield Output(name=f"{name}.qzeros", dtype="I32", shape=(width // group, packed))
        yield Output(name=f"{name}.scales", dtype="F16", shape=(width // group, out))


def _changes(model: Model, group: int) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "dtype": "float16",
        "quantization_config": {
            "quant_method": "awq",
            "bits": 4,
            "group_size": group,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": list(model.riders()) or None,
        },
    }
    if "torch_dtype" in model.config:
        changes["torch_dtype"] = "float16"
    return changes
