"""Importance matrices as llama.cpp's tool writes them, by the gguf package."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Entries = dict[str, tuple[Floats, Floats]]
"""Tensor name → sums ``[matrices, columns]`` and counts ``[matrices]``."""


def measured(columns: Mapping[str, tuple[int, int]], *, seed: int = 0) -> Entries:
    """Return random entries: tensor name → (matrices, columns) of the model.

    The last of several matrices saw no input, as happens to rare experts.
    """
    random = np.random.default_rng(seed)
    entries: Entries = {}
    for name, (matrices, width) in columns.items():
        sums = (random.standard_normal((matrices, width)) ** 4 * 100).astype(np.float32)
        counts = np.full(matrices, 321, dtype=np.float32)
        if matrices > 1:
            sums[-1], counts[-1] = 0, 0
        entries[name] = (sums, counts)
    return entries


def write_imatrix(path: Path, entries: Entries, *, chunks: int = 7) -> Path:
    """Write a file; return its path."""
    writer = gguf.GGUFWriter(path, arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["calibration.txt"])
    writer.add_uint32("imatrix.chunk_count", chunks)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, (sums, counts) in entries.items():
        writer.add_tensor(f"{name}.in_sum2", sums)
        writer.add_tensor(f"{name}.counts", counts.reshape(-1, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
