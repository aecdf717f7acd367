"""How far a quantised model is from the one it was made of, on a text.

Both read the same tokens in windows. From the distributions that they predict for each next
token come the perplexity of either, the mean Kullback-Leibler divergence of the reference to the
candidate in nats, and how often both find the same token likeliest. The reference's predictions
go to a file, so that only one model is in memory at a time.

Source:
    llama.cpp ``tools/perplexity`` (the measures; its windows and text are others).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelvault_converters.gguf.check.runtime import Model
from modelvault_converters.gguf.tensors import Floats

WINDOW = 256
"""Tokens that are read in one go; each window begins afresh."""

MOST_TOKENS = 1024
"""Tokens of the text that are read."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How a model fares beside its reference."""

    perplexity: float
    reference_perplexity: float
    divergence: float
    """Mean Kullback-Leibler divergence, in nats a token."""
    same_top: float
    """Share of positions where both find the same token likeliest, 0 to 1."""


def record(model: Model, ids: Sequence[int], path: Path) -> None:
    """Write the log-probabilities that a model predicts, float32 ``[tokens, vocabulary]``.

    Raises:
        CheckFailed: llama.cpp fails, or a logit is NaN or infinite.
        OSError: The file system refuses.
    """
    with open(path, "wb") as file:
        file.writelines(rows.astype("<f4").data for rows in _predictions(model, ids))


def compare(model: Model, ids: Sequence[int], recorded: Path) -> Distance:
    """Return the distance of a model from the predictions that ``record`` wrote.

    Args:
        model: The candidate, of the reference's vocabulary.
        ids: The tokens that the reference read.
        recorded: What it predicted.

    Raises:
        CheckFailed: llama.cpp fails, or a logit is NaN or infinite.
        OSError: The file cannot be read.
    """
    expected = np.asarray([*ids[1:], 0])
    divergences, own, reference, same = [], [], [], []
    position = 0
    with open(recorded, "rb") as file:
        for rows in _predictions(model, ids):
            count = len(rows)
            data = file.read(4 * count * model.tokens)
            other = np.frombuffer(data, dtype="<f4").reshape(count, model.tokens)
            # The last token of a window has no successor to be measured by.
            inside = (np.arange(position, position + count) + 1) % WINDOW != 0
            inside &= np.arange(position, position + count) + 1 < len(ids)
            following = expected[position : position + count]
            at = (np.arange(count), following)
            divergences.append(_divergence(other, rows)[inside])
            own.append(rows[at][inside])
            reference.append(other[at][inside])
            same.append((rows.argmax(axis=1) == other.argmax(axis=1))[inside])
            position += count
    return Distance(
        perplexity=float(np.exp(-np.concatenate(own).mean(dtype=np.float64))),
        reference_perplexity=float(np.exp(-np.concatenate(reference).mean(dtype=np.float64))),
        divergence=float(np.concatenate(divergences).mean()),
        same_top=float(np.concatenate(same).mean()),
    )


def _predictions(model: Model, ids: Sequence[int]) -> Iterator[Floats]:
    """Yield log-probabilities after each token, window by window."""
    for start in range(0, len(ids), WINDOW):
        for rows in model.logits(ids[start : start + WINDOW]):
            yield log_softmax(rows)


def log_softmax(rows: Floats) -> Floats:
    """Return log-probabilities of logits, float32 ``[rows, vocabulary]``."""
    shifted = rows - rows.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64))
    result: Floats = (shifted - total).astype(np.float32)
    return result


def _divergence(reference: Floats, candidate: Floats) -> Doubles:
    """Return the Kullback-Leibler divergence of each row, in nats, never below zero."""
    terms = np.exp(reference) * (reference - candidate)
    sums: Doubles = terms.sum(axis=1, dtype=np.float64)
    return np.maximum(sums, 0.0)
