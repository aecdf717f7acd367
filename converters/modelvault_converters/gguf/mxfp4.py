"""Experts of gpt-oss: gate and up in turn, each on its side, in 16 bits or in MXFP4.

OpenAI keeps the experts of a block in one tensor whose outputs alternate between gate and up, and
stores them as multiplied from the left, so in 16 bits rows are columns. Released weights are
MXFP4: blocks of 32 values of four bits (``_blocks``) with a power of two each (``_scales``). The
runtime's type of that name holds the same values in another order of bits. The views below give
the rows of gate, up and down as tensors of their own while they are read: no bit is rounded, and
nothing is unpacked on disk.

Source:
    https://huggingface.co/openai/gpt-oss-20b; transformers ``integrations/mxfp4.py``;
    https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h (``block_mxfp4``).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelvault.core.ggml import GgmlType
from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource
from modelvault_converters.gguf.rows import Stored

DTYPE = "MXFP4"
METHOD = "mxfp4"
"""What ``quantization_config`` calls it."""

_BLOCK = 16
"""Bytes of a block's values: two in each."""
_NAN = 255
"""Scale that is no number."""
_FUSED = ".mlp.experts.gate_up_proj"
_DOWN = ".mlp.experts.down_proj"
_BLOCKS, _SCALES, _BIAS = "_blocks", "_scales", "_bias"
_HALVES = (("gate_proj", 0), ("up_proj", 1))


def experts_apart(stored: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """Return a model's tensors with gate, up and down of its experts by names of their own.

    ``…experts.gate_proj``, ``up_proj`` and ``down_proj`` are ``[experts, rows, columns]``, and
    ``gate_proj_bias`` and ``up_proj_bias`` ``[experts, rows]``.

    Raises:
        SourceIncomplete: Blocks have no scales.
        UnsupportedSource: They do not fit each other.
    """
    found: dict[str, Stored] = {}
    for name, tensor in stored.items():
        stem, kind = _parse(name)
        if kind is None or len(tensor.shape) < 2:
            found[name] = tensor
        elif kind != _SCALES:
            found |= _apart(stem, kind, _upright(stored, stem, kind, tensor))
    return found


def _upright(stored: Mapping[str, Stored], stem: str, kind: str, tensor: Stored) -> Stored:
    """Return a tensor of experts with their rows as rows."""
    if kind == _BLOCKS:
        return _packed(stored, stem, tensor)
    return _turned(stem, tensor) if kind == "" and len(tensor.shape) == 3 else tensor


def _apart(stem: str, kind: str, tensor: Stored) -> dict[str, Stored]:
    """Return gate and up of a tensor that has both; any other as it is."""
    ending = _BIAS if kind == _BIAS else ""
    if not stem.endswith(_FUSED):
        return {stem + ending: tensor}
    names = {f"{stem.removesuffix('gate_up_proj')}{half}{ending}": first
             for half, first in _HALVES}  # fmt: skip
    return {name: _half(name, tensor, first) for name, first in names.items()}


def _parse(name: str) -> tuple[str, str | None]:
    """Return the name of an expert tensor and what follows it; None where it is no such."""
    for kind in (_BLOCKS, _SCALES, _BIAS, ""):
        stem = name.removesuffix(kind)
        if name.endswith(kind) and stem.endswith((_FUSED, _DOWN)):
            return stem, kind
    return name, None


def _packed(stored: Mapping[str, Stored], stem: str, blocks: Stored) -> Stored:
    """Return blocks and their scales as one tensor of the runtime's type."""
    scales = stored.get(stem + _SCALES)
    if scales is None:
        raise SourceIncomplete(
            f"tensor '{stem + _SCALES:.200}' is missing",
            hint="blocks of MXFP4 are nothing without their scales: pull every weight file",
        )
    fits = blocks.shape[:-1] == scales.shape and blocks.shape[-1:] == (_BLOCK,)
    if not fits or len(scales.shape) != 3 or {blocks.dtype, scales.dtype} != {"U8"}:
        raise UnsupportedSource(
            f"tensor '{blocks.name:.200}' of {blocks.dtype} {list(blocks.shape)} does not fit its "
            f"scales of {scales.dtype} {list(scales.shape)}",
            hint="compare the files with the publisher's",
        )
    experts, rows, groups = scales.shape
    shape = (experts, rows, groups * GgmlType.MXFP4.weights)
    view = replace(blocks, name=stem, dtype=DTYPE, shape=shape)
    return replace(view, file=_PackedRows(blocks, scales))


def _turned(stem: str, tensor: Stored) -> Stored:
    """Return a tensor of 16 bits whose rows are columns."""
    experts, columns, rows = tensor.shape
    view = replace(tensor, name=stem, shape=(experts, rows, columns))
    return replace(view, file=_TurnedRows(tensor))


def _half(name: str, tensor: Stored, first: int) -> Stored:
    """Return every other row of each expert; of a bias, every other value."""
    axis = 1
    shape = list(tensor.shape)
    shape[axis] = len(range(first, shape[axis], 2))
    view = replace(tensor, name=name, shape=tuple(shape), size=tensor.size // 2)
    return replace(view, file=_AlternateRows(tensor, first))


class _PackedRows:
    """Rows of blocks as the runtime keeps them: a scale, then the two halves side by side."""

    def __init__(self, blocks: Stored, scales: Stored) -> None:
        self.path = blocks.file.path
        self.blocks, self.scales = blocks, scales

    def read_rows(self, _tensor: Stored, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``[start, stop)`` as bytes, uint8 ``[rows, groups * 17]``.

        Raises:
            MalformedWeights: The file ends early, or a scale is NaN.
        """
        groups = self.blocks.shape[2]
        pairs = self.blocks.file.read_rows(self.blocks, start * groups, stop * groups)
        scales = self.scales.file.read_rows(self.scales, start, stop)
        if (scales == _NAN).any():
            raise MalformedWeights(
                f"{self.path}: tensor '{self.blocks.name}' holds NaN (rows {start} to {stop - 1})",
                hint="the checkpoint itself is broken: ask its publisher",
            )
        values = np.empty((len(pairs), 2 * _BLOCK), dtype=np.uint8)
        values[:, 0::2] = pairs & 0x0F
        values[:, 1::2] = pairs >> 4
        result = np.empty((stop - start, groups, _BLOCK + 1), dtype=np.uint8)
        result[:, :, 0] = scales
        packed = values[:, :_BLOCK] | values[:, _BLOCK:] << 4
        result[:, :, 1:] = packed.reshape(stop - start, groups, _BLOCK)
        return result.reshape(stop - start, -1)


class _TurnedRows:
    """Rows that are the columns of a stored matrix, one matrix an expert."""

    def __init__(self, tensor: Stored) -> None:
        self.path = tensor.file.path
        self.tensor = tensor

    def read_rows(self, _tensor: Stored, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``[start, stop)`` as stored bits ``[rows, columns]``."""
        _, columns, rows = self.tensor.shape
        parts = []
        while start < stop:
            expert, inside = divmod(start, rows)
            last = min(stop - start + inside, rows)
            first = expert * columns
            matrix = self.tensor.file.read_rows(self.tensor, first, first + columns)
            parts.append(np.ascontiguousarray(matrix[:, inside:last].T))
            start += last - inside
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class _AlternateRows:
    """Every other row of a tensor; of one whose rows are vectors, every other value."""

    def __init__(self, tensor: Stored, first: int) -> None:
        self.path = tensor.file.path
        self.tensor, self.first = tensor, first

    def read_rows(self, _tensor: Stored, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``[start, stop)`` as stored bits ``[rows, columns]``."""
        whole = self.tensor
        if len(whole.shape) == 2:  # biases: a row an expert
            bits = whole.file.read_rows(whole, start, stop)
            return np.ascontiguousarray(bits[:, self.first :: 2])
        bits = whole.file.read_rows(whole, 2 * start, 2 * stop)
        return np.ascontiguousarray(bits[self.first :: 2])
