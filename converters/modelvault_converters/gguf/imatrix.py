"""Importance matrices: how much each column of a weight matters, measured on a text.

llama.cpp's tool sums the squares of every input of a weight; their mean weighs the error of a
column while a block is quantised. An expert is a matrix of its own. ``imatrix_files`` knows where
the numbers stand.

Hostile input is expected: the header is read with bounds, every entry is walked once before the
conversion begins, and a row is read from the file when it is needed, so memory stays flat for
models of any size.

Source:
    llama.cpp ``tools/quantize/quantize.cpp``.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from modelvault.core.ggml import GgmlType
from modelvault.core.protocol import Request
from modelvault.errors import BadOption, MalformedWeights
from modelvault_converters.gguf.imatrix_files import Entry, read_contents
from modelvault_converters.gguf.tensors import Floats, Tensor

LARGEST = 4 * 1024**3
"""Largest file that is read, in bytes; the 14,848 experts of the largest model take a quarter."""

_STEP = 4 * 1024 * 1024
_SMALL = 16
_GROUPS = (_SMALL, 32)
_SMALL_GROUPS = ("Q2_K", "Q3_K", "Q6_K")
"""Block types that have a scale for 16 columns; the others have one for 32 at least."""
_UNUSED = ("Q8_0",)
"""Block types that are computed alike with and without a matrix."""
_UNWEIGHTED = ("token_embd.weight", "output.weight")
"""Tensors that the tool does not measure by default."""


class Importance:
    """An open importance matrix."""

    def __init__(self, location: str) -> None:
        """Open a file and check all of it.

        Args:
            location: Path on disk.

        Raises:
            BadOption: Not an importance matrix.
            MalformedWeights: The file contradicts itself, or holds what is no weight.
            OSError: The file cannot be read.
        """
        self._descriptor = os.open(location, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = self._size()
            with open(self._descriptor, "rb", closefd=False) as file:
                contents = read_contents(file, size)
            self._entries = contents.entries
            self.chunks = contents.chunks
            """Chunks of text that were measured, as the file says."""
            self._zeros: dict[int, set[str]] = {group: set() for group in _GROUPS}
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
            elif not entry.fits(_matrices(tensor), tensor.columns):
                wrong.append(
                    f"'{tensor.name}' has {_matrices(tensor)} x {tensor.columns} columns, "
                    f"the importance matrix {entry}"
                )
        if wrong:
            raise BadOption(
                f"--imatrix is of another model: {wrong[0]}",
                hint="measure an importance matrix on this very model",
                issues=wrong[:100],
            )
        return tuple(missing)

    def unseen(self, tensors: Iterable[tuple[str, GgmlType]]) -> tuple[str, ...]:
        """Return the names of tensors with columns that ``weights`` takes for not seen.

        Args:
            tensors: Names and types of those that are quantised.
        """
        found = {
            name: None
            for name, type_ in tensors
            if type_.name not in _UNUSED and name in self._zeros[_group(type_)]
        }
        return tuple(found)

    def weights(self, tensor: Tensor, matrix: int, type_: GgmlType) -> Floats | None:
        """Return float32 ``[columns]`` for one matrix of a tensor; None where nothing is known.

        Columns that share a scale and are zero together were not seen: a block that no column
        matters to would become zeros. They count as the others do on average, or alike where
        all are zero. A single zero among others stays, as in ``llama-quantize``.

        Args:
            tensor: A tensor of the model that was checked.
            matrix: Index of the expert; 0 for a tensor of one matrix.
            type_: What the tensor is quantised to.

        Raises:
            MalformedWeights: The file became shorter.
        """
        entry = self._entries.get(tensor.name)
        if entry is None or not entry.fits(_matrices(tensor), tensor.columns):
            return None
        row = self._row(entry, matrix, tensor.columns)
        group = _group(type_)
        zeros = np.repeat(_zeros(row, group), group)
        if not zeros.any():
            return row
        filled: Floats = row.copy()
        seen = row[row > 0]
        filled[: len(zeros)][zeros] = seen.mean(dtype=np.float64) if seen.size else 1.0
        return filled

    def _row(self, entry: Entry, matrix: int, columns: int) -> Floats:
        count = entry.divisor
        if entry.counts:
            count = float(self._floats(entry.counts + 4 * matrix, 1)[0])
        if count <= 0:  # this expert saw no input: its columns count alike
            return np.ones(columns, dtype=np.float32)
        sums = self._floats(entry.sums + 4 * columns * matrix, columns)
        with np.errstate(over="ignore", invalid="ignore"):  # checked by the caller
            weights: Floats = sums / np.float32(count)
        return weights

    def _rows(self, entry: Entry) -> Iterator[Floats]:
        """Yield all values of an entry, in pieces that fit into memory."""
        if entry.matrices:
            columns = entry.values // entry.matrices
            for matrix in range(entry.matrices):
                yield self._row(entry, matrix, columns)
            return
        for first in range(0, entry.values, _STEP):
            yield self._floats(entry.sums + 4 * first, min(_STEP, entry.values - first))

    def _floats(self, offset: int, count: int) -> Floats:
        data = os.pread(self._descriptor, 4 * count, offset)
        if len(data) != 4 * count:
            raise MalformedWeights(
                "the importance matrix ends early", hint="copy or measure the file again"
            )
        return np.frombuffer(data, dtype="<f4")

    def _check_values(self) -> None:
        for name, entry in self._entries.items():
            for row in self._rows(entry):
                if not np.isfinite(row).all() or row.min() < 0:
                    raise MalformedWeights(
                        f"importance matrix: '{name:.200}' holds NaN, infinity or a negative sum",
                        hint="measure it again; a broken model or an overflow makes such sums",
                    )
                for group in _GROUPS:
                    if _zeros(row, group).any():
                        self._zeros[group].add(name)

    def _size(self) -> int:
        size = os.fstat(self._descriptor).st_size
        if size > LARGEST:
            raise BadOption(f"--imatrix: {size} bytes, more than any importance matrix takes")
        return size

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
        BadOption: Not an importance matrix.
        MalformedWeights: The file contradicts itself, or holds what is no weight.
        OSError: The file cannot be read.
    """
    location = request.options.get("imatrix", "")
    if not location:
        return None
    importance = Importance(location)
    stack.callback(importance.close)
    return importance


def _group(type_: GgmlType) -> int:
    """Return how many columns share a scale, at least."""
    return _SMALL if type_.name in _SMALL_GROUPS else max(_GROUPS)


def _zeros(row: Floats, group: int) -> npt.NDArray[np.bool_]:
    """Return for each whole group of columns whether none of them counts."""
    groups = row[: len(row) - len(row) % group].reshape(-1, group)
    unseen: npt.NDArray[np.bool_] = ~np.asarray(groups.any(axis=1))
    return unseen


def _matrices(tensor: Tensor) -> int:
    return tensor.weights // (tensor.columns * tensor.shape[-2]) if len(tensor.shape) > 1 else 1
