"""Four-bit weights by AWQ, one decoder layer in memory at a time.

For each layer: run the calibration sequences through it and note what enters each linear; the
outputs are the next layer's inputs; search scales and fold them into the norm or linear
before; search ranges; round, pack, write, drop. After each layer all is durable, and a
conversion that was interrupted goes on with the next.

Source: Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978
"""

import json
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from modelvault.core.protocol import (
    RESUME,
    Advanced,
    Event,
    Produced,
    Stepped,
    Warned,
)
from modelvault.errors import CheckFailed, MalformedWeights
from modelvault.version import __version__
from modelvault_converters.awq.capacity import Work, foresee, require_memory, require_space
from modelvault_converters.awq.formats.fourbit import FourBit
from modelvault_converters.awq.formats.outputs import OutputCheckpoint, plan_checkpoint
from modelvault_converters.awq.formats.sidefiles import write_side_files
from modelvault_converters.awq.formats.writer import CheckpointWriter, is_begun
from modelvault_converters.awq.heap import give_back
from modelvault_converters.awq.job import Job, plan
from modelvault_converters.awq.journal import Journal, digest_work, read_journal, sweep
from modelvault_converters.awq.models.layers import State
from modelvault_converters.awq.models.model import layer_of
from modelvault_converters.awq.progress import StepReporter
from modelvault_converters.awq.report.activations import Activations
from modelvault_converters.awq.report.passage import BEFORE, Passage, shape_of
from modelvault_converters.awq.report.quality import SOURCE, Predictions, compare_predictions
from modelvault_converters.awq.search.observe import Observer
from modelvault_converters.awq.search.rounding import Rounded, Settings, round_awq, round_plainly
from modelvault_converters.awq.text.calibration import HELD_OUT, read_calibration
from modelvault_converters.durable import flush_folder

_TOOLS = ("torch", "transformers")
_SAMPLES, _PLAIN = "samples", "rtn"
_HARDLY = 0.9
"""Share of plain rounding's divergence above which the search has hardly helped."""
_ADVICE = "calibrate with more text of your domain, use groups of 32, or convert to FP8: --to fp8"


def convert_four_bit(kind: type[FourBit], job: Job) -> Iterator[Event]:
    """Plan and write a checkpoint of four bits; yield what happens.

    Raises:
        UnsupportedSource: The shapes do not fit groups, or the configuration is unusable.
        UnsupportedTokenizer: The text cannot be encoded.
        BadOption: The calibration text is not acceptable.
        MalformedWeights: A weight is NaN, infinite or beyond the type of 16 bits.
        CheckFailed: The result is further from its source than allowed.
        NoSpace: Result and activations do not fit on the disk.
        NotEnoughMemory: A layer does not fit in memory.
    """
    form = kind(job.model, job.options.group_size)
    planned = plan_checkpoint(form.outputs(), job.shard)
    yield from plan(form.target, planned, job)
    if job.request.plan_only:
        yield from _foresee(form, planned, job)
    else:
        yield from _Conversion(form, planned, job).run()


def _foresee(form: FourBit, planned: OutputCheckpoint, job: Job) -> Iterator[Warned]:
    """Yield a warning where the most that may be asked for does not fit."""
    length = min(job.options.sequence_length, job.runner.longest)
    count = job.options.samples + 3 * HELD_OUT
    passing = Activations.footprint((count, length, job.model.hidden))
    yield from foresee(
        partial(require_space, job.folder, planned.footprint + passing),
        partial(require_memory, Work.of(job.runner, length, form.group), job.options.device),
    )


class _Conversion:
    """One conversion on its way, from its first unfinished layer to the finished checkpoint."""

    def __init__(self, form: FourBit, planned: OutputCheckpoint, job: Job) -> None:
        self._form = form
        self._planned = planned
        self._job = job
        self._model = job.model
        self._own = form.target.lower()
        self._runner = job.runner
        self._text = read_calibration(job.model, job.options, self._runner.longest, job.folder)
        self._sets = {
            _SAMPLES: self._text.samples,
            **dict.fromkeys((SOURCE, _PLAIN, self._own), self._text.held_out),
        }
        self._settings: Settings = Settings(
            rounder=form.round, heads=job.model.heads, dtype=form.dtype
        )
        work = digest_work(self._facts())
        found = read_journal(job.folder, work)
        self._resumed = found is not None and self._is_whole()
        self._journal = found if found and self._resumed else Journal(work=work)
        self._reporter = StepReporter(form.target, job.model.layers, self._journal.seconds)

    def run(self) -> Iterator[Event]:
        """Yield what happens."""
        folder, done = self._job.folder, self._journal.layers
        sweep(folder, self._working_files() if self._resumed else ())
        require_space(folder, self._footprint())
        work = Work.of(self._runner, len(self._text.samples[0]), self._form.group)
        require_memory(work, self._job.options.device)
        writer = CheckpointWriter(folder, self._planned, self._job.stack, written=self._written())
        passage = Passage(
            self._model,
            self._runner,
            self._sets,
            folder,
            self._job.stack,
            layer=done if self._resumed else BEFORE,
        )
        if self._resumed:
            yield Advanced(target=self._form.target, done=writer.done)
        else:
            yield from self._begin(writer, passage)
        for number in range(done, self._model.layers):
            yield from self._advance(number, writer, passage)
            yield Advanced(target=self._form.target, done=writer.done)
        yield from self._finish(writer, passage)

    def _begin(self, writer: CheckpointWriter, passage: Passage) -> Iterator[Event]:
        """Write what belongs to no layer, and embed the sequences."""
        for stored in self._model.tensors():
            if layer_of(stored.name) is None:
                blocks = self._model.weights.blocks(stored.name)
                writer.write(stored.name, (self._narrow(block, stored.name) for block in blocks))
                yield Advanced(target=self._form.target, done=writer.done)
        passage.embed()
        self._keep(writer, passage)

    def _advance(
        self, number: int, writer: CheckpointWriter, passage: Passage
    ) -> Iterator[Stepped]:
        """Take everything through one layer; write that layer's tensors."""
        groups, report = self._model.groups(number), self._reporter
        state = self._runner.read(number)
        layer = self._runner.load(number, state)
        observer = Observer(groups, len(self._text.samples), self._form.group)
        with observer.watching(layer):
            yield from report.parts(passage.run(layer, _SAMPLES))
        yield from report.parts(passage.run(layer, SOURCE))
        round_plainly(state, groups, self._settings.rounder)
        yield from report.parts(passage.run(layer, _PLAIN))
        del layer, state
        give_back()
        state = self._runner.read(number)
        steps = round_awq(state, observer.inputs(), groups, self._settings)
        rounded = yield from report.steps(steps)
        layer = self._runner.load(number, state)
        yield from report.parts(passage.run(layer, self._own))
        self._write(f"model.layers.{number}.", state, rounded, writer)
        self._journal.errors.append((rounded.plain_error, rounded.error))
        self._journal.unreached += len(rounded.unreached)
        done = report.end_layer(rounded.plain_error, rounded.error)
        self._journal.seconds = report.seconds
        self._journal.layers = number + 1
        self._keep(writer, passage)
        yield done

    def _keep(self, writer: CheckpointWriter, passage: Passage) -> None:
        """Make durable what was done, then vouch for it."""
        writer.flush()
        passage.flush()
        flush_folder(self._job.folder)
        self._journal.save(self._job.folder)
        passage.turn()

    def _write(self, prefix: str, state: State, rounded: Rounded, writer: CheckpointWriter) -> None:
        for name, quantized in rounded.linears.items():
            for part, value in self._form.encode(quantized).items():
                writer.write(f"{prefix}{name}.{part}", [value])
        for name, value in state.items():
            if name.removesuffix(".weight") not in rounded.linears:
                writer.write(f"{prefix}{name}", [self._narrow(value, f"{prefix}{name}")])

    def _finish(self, writer: CheckpointWriter, passage: Passage) -> Iterator[Event]:
        """Measure the result and complete it.

        Journal and activations stay: until the vault has taken the result, a new run must be
        able to finish it. The vault clears the folder.
        """
        job, options = self._job, self._job.options
        quality = compare_predictions(
            self._model,
            {name: held for name, held in passage.sets.items() if name != _SAMPLES},
            self._text.held_out,
            options.device,
        )
        try:
            quality.require(self._own, options.max_kl, _ADVICE)
        except CheckFailed:
            sweep(job.folder)  # no other run may go on with it
            raise
        yield from self._warn(quality)
        weights = writer.finish()
        side = write_side_files(self._model, job.folder, self._form.changes())
        flush_folder(job.folder)
        yield Produced(
            target=self._form.target,
            files=(*side, *weights),
            format="safetensors",
            quantization=self._form.target,
            tools={name: version(name) for name in _TOOLS},
            parameters=self._parameters(quality),
        )

    def _warn(self, quality: Predictions) -> Iterator[Warned]:
        if self._journal.unreached:
            yield Warned(
                message=f"{self._journal.unreached} experts saw too little of the calibration "
                "text and were rounded plainly: more samples, or text of more kinds, reach them"
            )
        own, plain = quality.kl(self._own), quality.kl(_PLAIN)
        if own > _HARDLY * plain:
            yield Warned(
                message=f"{self._form.target} diverges {own:.3g} nats a token from its source, "
                f"plain rounding {plain:.3g}: the search has hardly helped; {_ADVICE}"
            )

    def _narrow(self, value: torch.Tensor, name: str) -> torch.Tensor:
        narrow = value.to(self._form.dtype)
        if not bool(torch.isfinite(narrow).all()):
            raise MalformedWeights(
                f"tensor '{name:.200}' does not fit f16, which AWQ kernels need",
                hint="--to w4a16 or --to fp8 takes it",
            )
        return narrow

    def _facts(self) -> dict[str, Any]:
        """Return everything that shapes the result, and nothing that does not."""
        request = self._job.request
        return {
            "release": __version__,
            "tools": {name: version(name) for name in _TOOLS},
            "target": self._form.target,
            "model": request.model,
            "revision": request.revision,
            "files": [[file.path, file.size] for file in request.files],
            "group": self._form.group,
            "device": str(self._job.options.device),
            "samples": [sequence.tolist() for sequence in self._text.samples],
            "held_out": [sequence.tolist() for sequence in self._text.held_out],
        }

    def _parameters(self, quality: Predictions) -> dict[str, str]:
        errors = [[float(f"{value:.4g}") for value in pair] for pair in self._journal.errors]
        chosen = self._text.held_out_digest
        return {
            "type": self._form.target,
            "group_size": str(self._form.group),
            "calibration": self._text.digest,
            "samples": str(len(self._text.samples)),
            "sequence_length": str(len(self._text.samples[0])),
            "seed": str(self._job.options.seed),
            **({"check_text": chosen} if chosen else {}),
            **quality.encode(),
            "layer_errors": json.dumps(errors),
        }

    def _written(self) -> set[str]:
        """Return the tensors that an earlier run has written."""
        if not self._resumed:
            return set()
        layers = {output.name: layer_of(output.name) for output in self._planned.outputs()}
        done = self._journal.layers
        return {name for name, layer in layers.items() if layer is None or layer < done}

    def _working_files(self) -> tuple[str, ...]:
        weights = (file.name for file in self._planned.files)
        held = (name for item in self._sets for name in Activations.names(item))
        return (RESUME, *weights, *held)

    def _is_whole(self) -> bool:
        """Return whether what the journal vouches for is there."""
        folder = self._job.folder
        return all(is_begun(folder, file) for file in self._planned.files) and all(
            Activations.are_in(folder, name, shape_of(self._model, sequences))
            for name, sequences in self._sets.items()
        )

    def _footprint(self) -> int:
        """Return the bytes on disk that result and activations take."""
        shapes = (shape_of(self._model, sequences) for sequences in self._sets.values())
        return self._planned.footprint + sum(Activations.footprint(shape) for shape in shapes)
