"""Tensors as bytes."""

import torch


def as_bytes(values: torch.Tensor) -> memoryview:
    """Return the bytes of a contiguous tensor in memory, not copied."""
    data: memoryview = values.reshape(-1).view(torch.uint8).numpy().data
    return data
