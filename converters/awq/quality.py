"""How good the result is: per layer, and over the whole model on held-out text.

Held-out sequences pass through three models side by side, layer by layer: the source,
plain rounding, and the result. At the end their predictions are compared.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from converters.awq.activations import Activations
from converters.awq.model import Model

_TOKENS = 64
"""Positions whose predictions are held at once."""


@dataclass(slots=True, kw_only=True)
class Quality:
    """The report, as it grows."""

    layers: list[tuple[float, float]] = field(default_factory=list)
    """Relative squared error of the linears' outputs: plain rounding, result."""
    tokens: int = 0
    """Predictions compared."""
    loss: dict[str, float] = field(default_factory=dict)
    """Summed cross entropy, nats: ``source``, ``rtn``, ``awq``."""
    divergence: dict[str, float] = field(default_factory=dict)
    """Summed KL divergence from the source, nats: ``rtn``, ``awq``."""

    def encode(self) -> dict[str, str]:
        """Return the report as parameters of the lineage."""
        perplexity = {
            f"perplexity.{name}": f"{torch.tensor(loss / self.tokens).exp():.6g}"
            for name, loss in self.loss.items()
        }
        divergence = {
            f"kl.{name}": f"{value / self.tokens:.6g}" for name, value in self.divergence.items()
        }
        layers = [[float(f"{value:.4g}") for value in pair] for pair in self.layers]
        return {
            **perplexity,
            **divergence,
            "held_out_tokens": str(self.tokens),
            "layer_errors": json.dumps(layers),
        }


def compare_predictions(
    model: Model,
    hidden: dict[str, Activations],
    tokens: tuple[torch.Tensor, ...],
    quality: Quality,
) -> None:
    """Add what the models predict for the held-out text to the report.

    Args:
        model: The source; its norm and output head serve all three.
        hidden: Last layer's outputs of ``source``, ``rtn`` and ``awq``.
        tokens: The sequences themselves.
        quality: Where it is noted.
    """
    for number, sequence in enumerate(tokens):
        states = {name: _normed(model, store.read(number)) for name, store in hidden.items()}
        for start in range(0, len(sequence) - 1, _TOKENS):
            wanted = sequence[start + 1 : start + 1 + _TOKENS]
            part = slice(start, start + len(wanted))
            predicted = {name: _log_softmax(model, state[part]) for name, state in states.items()}
            _add(quality, predicted, wanted)


def _add(quality: Quality, predicted: dict[str, torch.Tensor], wanted: torch.Tensor) -> None:
    source = predicted["source"]
    quality.tokens += len(wanted)
    for name, values in predicted.items():
        loss = -float(values.gather(1, wanted.unsqueeze(1)).double().sum())
        quality.loss[name] = quality.loss.get(name, 0.0) + loss
        if name != "source":
            gap = float((source.exp() * (source - values)).double().sum())
            quality.divergence[name] = quality.divergence.get(name, 0.0) + gap


def _normed(model: Model, hidden: torch.Tensor) -> torch.Tensor:
    """Return hidden states after the last norm, f32 ``[length, hidden]``."""
    epsilon = float(model.config.get("rms_norm_eps", 1e-6))
    scale = (hidden.square().mean(-1, keepdim=True) + epsilon).rsqrt()
    weight = model.weights.read("model.norm.weight").float() + model.family.norm_offset
    return hidden * scale * weight


def _log_softmax(model: Model, hidden: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities, f32 ``[length, vocabulary]``, reading the head in blocks."""
    parts = [hidden @ block.float().T for block in head_blocks(model)]
    logits = torch.cat(parts, dim=1)
    cap = model.family.logit_cap(model.config)
    if cap:
        logits = (logits / cap).tanh_().mul_(cap)
    return logits.log_softmax(-1)


def head_blocks(model: Model) -> Iterator[torch.Tensor]:
    """Yield the rows of the output head, which may be the embedding, block by block."""
    head = "lm_head.weight"
    tied = model.config.get("tie_word_embeddings") or head not in model.weights.tensors
    yield from model.weights.blocks("model.embed_tokens.weight" if tied else head)
