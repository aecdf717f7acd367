"""What AWQ loses, beside AutoAWQ and plain rounding: same model, same samples, same decoder.

Models of many families are trained (``benchmarks.trained``), quantised three ways and decoded
to the weights that a server computes with; their predictions for text that neither training
nor calibration saw are compared with the source's.
"""

import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import trained
from modelvault.core.protocol import Request, SourceFile
from modelvault_converters.awq.formats.packing import decode, quantize
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.options import CALIBRATED, read_options
from modelvault_converters.awq.text.calibration import read_calibration
from modelvault_converters.checkpoint import Checkpoint
from tests.support.trainedmodel import Family, divergence, load, logits

AUTOAWQ = "MODELVAULT_AUTOAWQ"
"""Environment variable: the Python of an environment that has AutoAWQ 0.2.9."""
SAMPLES, LENGTH = 32, 256
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
"""AutoAWQ allocates and frees a lot; without this, half of its time goes to page faults."""
_TRAINING, _CALIBRATION, _HELD_OUT = 300, 60, 80
"""Texts to train on, to calibrate with and to compare on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Divergence from the source and perplexity of one way to quantise."""

    divergence: float
    """Nats a token."""
    perplexity: float


class Place:
    """A folder of models, calibration texts and AutoAWQ's results, made where missing."""

    def __init__(self, folder: Path, shape: trained.Shape) -> None:
        """Read the texts; train the tokenizer."""
        self._folder = folder
        self._shape = shape
        self._texts = trained.read_texts()
        self._tokenizer = folder / "tokenizer"
        if not self._tokenizer.exists():
            trained.write_tokenizer(self._tokenizer, self._texts[:_TRAINING])
        self._tokens = trained.encode(self._tokenizer, self._texts[:_TRAINING], 2 * 1024)
        kept = trained.encode(self._tokenizer, self._texts[-_HELD_OUT:], LENGTH)
        self.held_out = kept[: len(kept) // LENGTH * LENGTH]

    def model(self, family: Family, seed: int) -> Path:
        """Return a trained checkpoint."""
        folder = self._folder / f"{family}-{self._shape.name}-{seed}"
        if not (folder / "config.json").exists():
            shutil.copytree(self._tokenizer, folder, dirs_exist_ok=True)
            trained.train(folder, family, self._shape, self._tokens, seed)
        return folder

    def calibration(self, seed: int) -> Path:
        """Return a text to calibrate with."""
        path = self._folder / f"calibration-{seed}.txt"
        start = _TRAINING + seed * _CALIBRATION
        path.write_text("\n".join(self._texts[start : start + _CALIBRATION]), encoding="utf-8")
        return path

    def autoawq(self, model: Path, request: Request, group: int) -> tuple[Path, float]:
        """Return AutoAWQ's result for the samples of a request, and the seconds it took."""
        folder = self._folder / f"{model.name}-autoawq-{group}"
        timing = folder / "seconds.json"
        if not timing.exists():
            shutil.rmtree(folder, ignore_errors=True)
            samples = self._folder / f"{model.name}-samples.json"
            samples.write_text(json.dumps(_samples(request)))
            script = Path(__file__).with_name("autoawq.py")
            command = [os.environ[AUTOAWQ], "-I", script, model, samples, str(group), folder]
            start = time.monotonic()
            subprocess.run(command, check=True, capture_output=True, env=os.environ | _KEEP_MEMORY)
            timing.write_text(json.dumps(time.monotonic() - start))
        return folder, json.loads(timing.read_text())


def make_request(folder: Path, target: str, output: str, options: dict[str, str]) -> Request:
    """Return the request that the vault would send for a folder."""
    return Request(
        model=f"bench/{folder.name}",
        revision="0" * 40,
        license="",
        files=tuple(
            SourceFile(path=path.name, location=str(path), size=path.stat().st_size)
            for path in sorted(folder.iterdir())
            if path.is_file()
        ),
        targets=(target,),
        output=output,
        options=options,
    )


def _samples(request: Request) -> list[list[int]]:
    """Return the sequences that our converter calibrates with."""
    with ExitStack() as stack:
        model = Model.open(Checkpoint(request.files), stack, "AWQ")
        options = read_options(request.options, "AWQ", CALIBRATED)
        folder = Path(stack.enter_context(TemporaryDirectory()))
        calibration = read_calibration(model, options, LENGTH, folder)
    return [sample.tolist() for sample in calibration.samples]


def compare(source: Path, made: dict[str, Path], tokens: torch.Tensor) -> dict[str, Loss]:
    """Return the losses of ``source`` itself, plain rounding (``rtn``) and what was made.

    Args:
        source: The trained checkpoint.
        made: AWQ folders by name, all with the same groups.
        tokens: What nothing has seen, ``[count]``.
    """
    batch = tokens.view(-1, LENGTH)
    weights = load(source)
    states = {name: _dequantize(folder) for name, folder in made.items()}
    states["rtn"] = _plainly(weights, load(next(iter(made.values()))))
    expected = logits(source, batch, weights)
    losses = {"source": _measure(expected, expected, batch)}
    for name, state in states.items():
        losses[name] = _measure(expected, logits(source, batch, state), batch)
    return losses


def _measure(expected: torch.Tensor, found: torch.Tensor, batch: torch.Tensor) -> Loss:
    wanted = batch[:, 1:].unsqueeze(2)
    entropy = -found[:, :-1].log_softmax(-1).gather(2, wanted).mean()
    return Loss(divergence=divergence(expected, found), perplexity=float(entropy.exp()))


def _dequantize(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a server computes with."""
    tensors = load(folder)
    for name in [name for name in tensors if name.endswith(".qweight")]:
        linear = name.removesuffix(".qweight")
        parts = [tensors.pop(f"{linear}.{part}") for part in ("qweight", "qzeros", "scales")]
        tensors[f"{linear}.weight"] = decode(*parts)
    return tensors


def _plainly(
    weights: dict[str, torch.Tensor], like: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the source's weights, those that ``like`` has packed rounded to the nearest."""
    result = dict(weights)
    for name, scales in like.items():
        if name.endswith(".scales"):
            linear = name.removesuffix(".scales") + ".weight"
            group = weights[linear].shape[1] // len(scales)
            result[linear] = quantize(weights[linear].float(), group).dequantize()
    return result
