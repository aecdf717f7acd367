"""How much of a weight is taken at once: what a cache holds, or what keeps a GPU at work."""

import torch

_WIDER = 16
"""Times as much on a GPU: what its caches hold matters less there than how often a kernel is
started, and a column takes a dozen of them however many rows it has."""


def split_rows(weight: torch.Tensor, most: int) -> tuple[torch.Tensor, ...]:
    """Return a matrix in portions of whole rows.

    Args:
        weight: ``[out, in]``.
        most: Weights a portion at most, on a CPU.
    """
    return torch.split(weight, rows_at_once(weight, most))


def rows_at_once(weight: torch.Tensor, most: int) -> int:
    """Return the rows that a portion of a matrix has, of which the last may have fewer.

    Args:
        weight: ``[out, in]``.
        most: Weights a portion at most, on a CPU.
    """
    return max(1, widened(most, weight.device) // weight.shape[1])


def widened(most: int, device: torch.device) -> int:
    """Return the weights that a device takes at once, where a CPU takes ``most``."""
    return most if device.type == "cpu" else _WIDER * most
