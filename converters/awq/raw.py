"""Tensors as bytes, and bytes at their place in a file."""

import os

import torch


def as_bytes(values: torch.Tensor) -> memoryview:
    """Return the bytes of a contiguous tensor in memory, not copied."""
    data: memoryview = values.reshape(-1).view(torch.uint8).numpy().data
    return data


def read_all(descriptor: int, data: memoryview, offset: int) -> bool:
    """Fill ``data`` from an offset, in bytes; return whether the file is long enough."""
    done = 0
    while done < len(data):
        count = os.preadv(descriptor, [data[done:]], offset + done)
        if count == 0:
            return False
        done += count
    return True


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at an offset, in bytes from the start of the file."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
