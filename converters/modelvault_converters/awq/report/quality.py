"""How far the result's predictions for held-out text are from the source's.

Held-out sequences pass through several models side by side, layer by layer: the source, the
result, and, for comparison, plain rounding. At the end their predictions are compared.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from modelvault.errors import CheckFailed
from modelvault_converters.awq.models.model import EMBEDDING, HEAD, NORM, Model
from modelvault_converters.awq.report.activations import Activations
from modelvault_converters.awq.text.calibration import Sequences

SOURCE = "source"
"""Name of the model that the others are compared with."""

_LOGITS = 128 * 1024 * 1024
"""Bytes of predictions that are held at once."""


@dataclass(slots=True, kw_only=True)
class Predictions:
    """What models predict for the same text."""

    tokens: int = 0
    """Predictions compared."""
    loss: dict[str, float] = field(default_factory=dict)
    """Summed cross entropy of each model, nats."""
    divergence: dict[str, float] = field(default_factory=dict)
    """Summed KL divergence of each model from the source, nats."""

    def kl(self, name: str) -> float:
        """Return a model's mean divergence from the source, nats a token."""
        return self.divergence[name] / self.tokens

    def encode(self) -> dict[str, str]:
        """Return the report as parameters of the lineage."""
        perplexity = {
            f"perplexity.{name}": f"{torch.tensor(loss / self.tokens).exp():.6g}"
            for name, loss in self.loss.items()
        }
        divergence = {f"kl.{name}": f"{self.kl(name):.6g}" for name in self.divergence}
        return {**perplexity, **divergence, "held_out_tokens": str(self.tokens)}

    def require(self, name: str, most: float | None, advice: str) -> None:
        """Refuse a result that is too far from its source.

        Args:
            name: Of the result among the models.
            most: Largest mean divergence that is accepted, nats a token; None for any.
            advice: What to try.

        Raises:
            CheckFailed: It is further off, or cannot be compared.
        """
        if not math.isfinite(self.kl(name)):
            raise CheckFailed(
                f"{name.upper()} cannot be compared with its source: predictions are no numbers",
                hint="configuration or weights are broken: compare them with those on the Hub",
            )
        if most is not None and not self.kl(name) <= most:
            raise CheckFailed(
                f"{name.upper()} diverges {self.kl(name):.3g} nats a token from its source, "
                f"more than --max-kl {most:g}",
                hint=advice,
            )


def compare_predictions(
    model: Model, hidden: Mapping[str, Activations], tokens: Sequences, device: torch.device
) -> Predictions:
    """Return what models predict for held-out text.

    Args:
        model: The source; its norm and output head serve all.
        hidden: Last layer's outputs by model; ``source`` is one.
        tokens: The sequences themselves.
        device: Where predictions are computed.
    """
    predictions = Predictions()
    head = _Head(model, device)
    at_once = max(1, _LOGITS // (4 * len(hidden) * head.vocabulary))
    for number, sequence in enumerate(tokens):
        states = {name: head.normed(held.read(number)) for name, held in hidden.items()}
        for start in range(0, len(sequence) - 1, at_once):
            wanted = sequence[start + 1 : start + 1 + at_once].to(device)
            rows = [state[start : start + len(wanted)] for state in states.values()]
            found = head.log_softmax(torch.cat(rows)).view(len(states), len(wanted), -1)
            _add(predictions, dict(zip(states, found)), wanted)
    return predictions


class _Head:
    """The end of a model: its last norm and its output head."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model = model
        self._device = device
        weight = model.weights.read(NORM).to(device, torch.float32)
        self._norm = weight + model.family.norm_offset
        self._epsilon = float(model.config.get("rms_norm_eps", 1e-6))
        self._cap = model.family.logit_cap(model.config)
        tensors = model.weights.tensors
        # servers take a head that is there for the head, whatever the configuration says of ties
        self._name = HEAD if HEAD in tensors else EMBEDDING
        self.vocabulary = tensors[self._name].shape[0]
        """Rows of the output head, which may be the embedding."""

    def normed(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return hidden states after the last norm, f32 ``[length, hidden]``."""
        values = hidden.to(self._device)
        scale = (values.square().mean(-1, keepdim=True) + self._epsilon).rsqrt()
        return values * scale * self._norm

    def log_softmax(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities, f32 ``[length, vocabulary]``, reading the head in blocks."""
        logits = torch.empty((len(hidden), self.vocabulary), device=self._device)
        start = 0
        for block in self._model.weights.blocks(self._name):
            end = start + len(block)
            logits[:, start:end] = hidden @ block.to(self._device, torch.float32).T
            start = end
        if self._cap:
            logits.div_(self._cap).tanh_().mul_(self._cap)
        return logits.sub_(logits.logsumexp(-1, keepdim=True))


def _add(predictions: Predictions, found: Mapping[str, torch.Tensor], wanted: torch.Tensor) -> None:
    source = found[SOURCE]
    expected = source.exp()
    predictions.tokens += len(wanted)
    for name, values in found.items():
        loss = -float(values.gather(1, wanted.unsqueeze(1)).double().sum())
        predictions.loss[name] = predictions.loss.get(name, 0.0) + loss
        if name != SOURCE:
            gap = float((expected * (source - values)).sum(-1).double().sum())
            predictions.divergence[name] = predictions.divergence.get(name, 0.0) + gap
