"""Importance matrices as llama.cpp's tool writes them, by the gguf package."""

import struct
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


def write_older_imatrix(path: Path, entries: Entries, *, calls: int = 4, chunks: int = 7) -> Path:
    """Write a file in the format before GGUF, as the tool's ``save_imatrix_legacy``; return it.

    Values are means times ``calls``, a power of two: so they are the same weights to the bit.
    """
    data = struct.pack("<i", len(entries))
    for name, (sums, counts) in sorted(entries.items()):
        means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], 1)
        values = means.astype("<f4") * np.float32(calls)
        data += struct.pack("<i", len(name)) + name.encode()
        data += struct.pack("<ii", calls, values.size) + values.tobytes()
    data += struct.pack("<i", chunks) + struct.pack("<i", 15) + b"calibration.txt"
    path.write_bytes(data)
    return path
