"""Tiny checkpoints of which the small files are kept, and the weights made anew each time.

A vector keeps what publishers write by hand or train: configuration, tokenizer, templates. Of the
weights it keeps names, types and shapes; the numbers come from here, by integer arithmetic on
the raw stream of a generator, so that every machine and every release of numpy makes the same
bytes.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import gguf
import numpy as np
import numpy.typing as npt
import zstandard

SHAPES = "shapes.json"
"""File → tensor → type and shape, in the order of the files."""

_WIDTHS = {"F8_E4M3": 1, "U8": 1, "BF16": 2, "F16": 2, "F32": 4, "I64": 8}


def unpack(packed: Path, folder: Path) -> None:
    """Write a kept checkpoint into ``folder``, weights included."""
    with (
        open(packed, "rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        archive.extractall(folder, filter="data")
    write_weights(folder)


def write_weights(folder: Path) -> None:
    """Write the weight files that ``shapes.json`` lists, and remove the list."""
    listed: dict[str, dict[str, tuple[str, list[int]]]]
    listed = json.loads((folder / SHAPES).read_text())
    (folder / SHAPES).unlink()
    for file, tensors in listed.items():
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, (dtype, shape) in tensors.items():
            end = offset + int(np.prod(shape)) * _WIDTHS[dtype]
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
            offset = end
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        with open(folder / file, "wb") as sink:
            sink.write(len(head).to_bytes(8, "little") + head)
            for name, (dtype, shape) in tensors.items():
                sink.write(_values(name, dtype, shape).tobytes())


def write_importance(path: Path, columns: dict[str, tuple[int, int]]) -> Path:
    """Write an importance matrix; return its path.

    Args:
        path: The file.
        columns: Tensor name → matrices and columns; the last of several matrices saw nothing.
    """
    writer = gguf.GGUFWriter(path, arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["calibration.txt"])
    writer.add_uint32("imatrix.chunk_count", 7)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, (matrices, width) in columns.items():
        sums = _bell(name, matrices * width).reshape(matrices, width) ** 4 * np.float32(9)
        counts = np.full((matrices, 1), 321, dtype=np.float32)
        if matrices > 1:
            sums[-1], counts[-1] = 0, 0
        writer.add_tensor(f"{name}.in_sum2", sums)
        writer.add_tensor(f"{name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def weighted_columns(path: Path) -> dict[str, tuple[int, int]]:
    """Return the matrices of a GGUF's blocks: name → matrices and columns."""
    return dict(_weighted(path))


def _weighted(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for tensor in gguf.GGUFReader(path).tensors:
        plain = "norm" not in tensor.name and "gate_inp" not in tensor.name
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1 and plain:
            matrices = int(tensor.shape[2]) if len(tensor.shape) == 3 else 1
            yield tensor.name, (matrices, int(tensor.shape[0]))


def _bell(name: str, count: int) -> npt.NDArray[np.float32]:
    """Return numbers around zero, mostly within one, exact in float32."""
    raw = np.random.PCG64(crc32(name.encode())).random_raw(count).view(np.uint16).reshape(-1, 4)
    sums: npt.NDArray[np.int64] = raw.sum(axis=1, dtype=np.int64) - 2 * 65535
    return (sums >> 1).astype(np.float32) / np.float32(32768)


def _values(name: str, dtype: str, shape: list[int]) -> npt.NDArray[np.generic]:
    """Return the stored numbers of a tensor: norms near one, factors small and positive."""
    count = int(np.prod(shape))
    if dtype == "I64":
        return np.arange(count, dtype=np.int64)
    bell = _bell(name, count)
    if dtype == "F8_E4M3":
        return (bell * np.float32(64)).astype(np.int64).astype(np.uint8) & 0xBF  # never NaN
    if dtype == "U8":  # four-bit values in pairs, or the exponents of their scales
        pairs = (bell * np.float32(64)).astype(np.int64).astype(np.uint8)
        return pairs % 16 + 112 if "scale" in name else pairs
    if "scale" in name:
        bell = (np.float32(2) + bell) / np.float32(1024)
    elif "norm" in name.lower() and "bias" not in name:
        bell = np.float32(1) + bell / np.float32(8)
    else:
        bell = bell / np.float32(8)
    if dtype == "BF16":
        return (bell.view(np.uint32) >> 16).astype(np.uint16)
    return bell.astype({"F16": np.float16, "F32": np.float32}[dtype])
