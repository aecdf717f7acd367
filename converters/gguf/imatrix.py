"""Importance matrices: how much each column of a weight matters, measured on a text.

llama.cpp's tool writes them as GGUF: for a tensor ``T`` of the model, ``T.in_sum2`` holds the
summed squares of every input, float32 ``[matrices, columns]``, and ``T.counts`` how many were
summed, float32 ``[matrices, 1]``; an expert is a matrix of its own. Their quotient weighs the
error of a column while a block is quantised.

Hostile input is expected: the header is read with bounds, every entry is walked once before the
conversion begins, and a row is read from the file when it is needed, so memory stays flat for
models of any size.

Source:
    llama.cpp ``tools/imatrix/imatrix.cpp`` (layout), ``tools/quantize/quantize.cpp`` (use).
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.gguf.tensors import Floats, Tensor
from modelvault.core.gguf import Header, TensorInfo, read_header
from modelvault.core.protocol import Request
from modelvault.errors import BadOption, MalformedWeights

LARGEST = 4 * 1024**3
"""Largest file that is read, in bytes; the 14,848 experts of the largest model take a quarter."""

_SUMS, _COUNTS = ".in_sum2", ".counts"
_FLOAT32 = 0
_STEP = 4 * 1024 * 1024
_UNWEIGHTED = ("token_embd.weight", "output.weight")
"""Tensors that the tool does not measure by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    matrices: int
    columns: int
    sums: int
    """Offset in the file, in bytes."""
    counts: int


class Importance:
    """An open importance matrix."""

    def __init__(self, location: str) -> None:
        """Open a file and check all of it.

        Args:
            location: Path on disk.

        Raises:
            BadOption: Not an importance matrix in GGUF.
            MalformedWeights: The file contradicts itself, or holds what is no weight.
            OSError: The file cannot be read.
        """
        self._descriptor = os.open(location, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._check_magic()
            with open(self._descriptor, "rb", closefd=False) as file:
                file.seek(0)
                header = read_header(file, os.fstat(self._descriptor).st_size)
            self._entries = _read_entries(header)
            self.chunks = header.metadata.get("imatrix.chunk_count", 0)
            """Chunks of text that were measured, as the file says."""
            self._check_values()
            self.digest = self._hash()
            """``sha256:`` and 64 hexadecimal digits."""
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @property
    def parameters(self) -> dict[str, str]:
        """What the lineage keeps of the matrix."""
        return {"imatrix": self.digest, "imatrix_chunks": str(self.chunks)}

    def check(self, tensors: Iterable[Tensor]) -> tuple[str, ...]:
        """Compare with a model; return the names of tensors that have no entry.

        Args:
            tensors: Those that are quantised.

        Raises:
            BadOption: The matrix was made for another model.
        """
        missing: list[str] = []
        wrong: list[str] = []
        for tensor in tensors:
            entry = self._entries.get(tensor.name)
            if tensor.name in _UNWEIGHTED:
                continue
            if entry is None:
                missing.append(tensor.name)
            elif (entry.matrices, entry.columns) != (_matrices(tensor), tensor.columns):
                wrong.append(
                    f"'{tensor.name}' has {_matrices(tensor)} x {tensor.columns} columns, "
                    f"the importance matrix {entry.matrices} x {entry.columns}"
                )
        if wrong:
            raise BadOption(
                f"--imatrix is of another model: {wrong[0]}",
                hint="measure an importance matrix on this very model",
                issues=wrong[:100],
            )
        return tuple(missing)

    def weights(self, tensor: Tensor, matrix: int) -> Floats | None:
        """Return float32 ``[columns]`` for one matrix of a tensor; None where nothing is known.

        Args:
            tensor: A tensor of the model that was checked.
            matrix: Index of the expert; 0 for a tensor of one matrix.

        Raises:
            MalformedWeights: The file became shorter.
        """
        entry = self._entries.get(tensor.name)
        if entry is None or (entry.matrices, entry.columns) != (_matrices(tensor), tensor.columns):
            return None
        return self._row(entry, matrix)

    def _row(self, entry: _Entry, matrix: int) -> Floats:
        count = self._floats(entry.counts + 4 * matrix, 1)[0]
        if count <= 0:  # this expert saw no input: its columns count alike
            return np.ones(entry.columns, dtype=np.float32)
        sums = self._floats(entry.sums + 4 * entry.columns * matrix, entry.columns)
        with np.errstate(over="ignore"):  # checked by the caller
            weights: Floats = sums / count
        return weights

    def _floats(self, offset: int, count: int) -> Floats:
        data = os.pread(self._descriptor, 4 * count, offset)
        if len(data) != 4 * count:
            raise MalformedWeights(
                "the importance matrix ends early", hint="copy or measure the file again"
            )
        return np.frombuffer(data, dtype="<f4")

    def _check_magic(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size > LARGEST:
            raise BadOption(f"--imatrix: {size} bytes, more than any importance matrix takes")
        if os.pread(self._descriptor, 4, 0) != b"GGUF":
            raise BadOption(
                "--imatrix: not a GGUF file; the old format (.dat) is not read",
                hint="llama-imatrix --in-file OLD.dat -o NEW.gguf turns the old format into GGUF",
            )

    def _check_values(self) -> None:
        for name, entry in self._entries.items():
            for matrix in range(entry.matrices):
                row = self._row(entry, matrix)
                if not np.isfinite(row).all() or row.min() < 0:
                    raise MalformedWeights(
                        f"importance matrix: '{name:.200}' holds NaN, infinity or a negative sum",
                        hint="measure it again; a broken model or an overflow makes such sums",
                    )

    def _hash(self) -> str:
        digest = hashlib.sha256()
        offset = 0
        while data := os.pread(self._descriptor, _STEP, offset):
            digest.update(data)
            offset += len(data)
        return f"sha256:{digest.hexdigest()}"


def open_importance(request: Request, stack: ExitStack) -> Importance | None:
    """Return the importance matrix that a request names, closed with ``stack``, if it does.

    Raises:
        BadOption: Not an importance matrix in GGUF.
        MalformedWeights: The file contradicts itself, or holds what is no weight.
        OSError: The file cannot be read.
    """
    location = request.options.get("imatrix", "")
    if not location:
        return None
    importance = Importance(location)
    stack.callback(importance.close)
    return importance


def _matrices(tensor: Tensor) -> int:
    return tensor.weights // (tensor.columns * tensor.shape[-2]) if len(tensor.shape) > 1 else 1


def _read_entries(header: Header) -> dict[str, _Entry]:
    infos: Mapping[str, TensorInfo] = {info.name: info for info in header.tensors}
    entries: dict[str, _Entry] = {}
    for name, sums in infos.items():
        if not name.endswith(_SUMS):
            continue
        base = name.removesuffix(_SUMS)
        counts = infos.get(base + _COUNTS)
        matrices = sums.count // sums.shape[0] if sums.shape else 0
        if counts is None or counts.count != matrices:
            raise MalformedWeights(f"importance matrix: '{base:.200}' has no matching counts")
        if (sums.type, counts.type) != (_FLOAT32, _FLOAT32):
            raise MalformedWeights(f"importance matrix: '{base:.200}' is not float32")
        entries[base] = _Entry(
            matrices=matrices,
            columns=sums.shape[0],
            sums=header.data_start + sums.offset,
            counts=header.data_start + counts.offset,
        )
    if not entries:
        kind: Any = header.architecture or header.text("general.type") or "unknown"
        raise BadOption(
            f"--imatrix: a GGUF file, but no importance matrix (it is of type '{kind:.50}')",
            hint="llama-imatrix measures one; a model is not one",
        )
    return entries
