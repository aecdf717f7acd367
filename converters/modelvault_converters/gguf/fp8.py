"""FP8 weights with their factors, seen as float32.

A weight of 8 bits (``F8_E4M3``) comes with factors, whose name and number ``scaling`` knows: one
for a matrix, for each of its rows, or for every block of rows and columns, 128 by 128 as a rule.
A value is the weight times its factor, in float32. The view below does that while rows are read:
nothing is unpacked on disk, and memory holds the slice in hand only. For the rest of the
converter such a tensor is one of float32.

Source:
    https://huggingface.co/deepseek-ai/DeepSeek-V3 (``inference/kernel.py``, ``README_WEIGHTS``);
    https://arxiv.org/abs/2209.05433 for the numbers of E4M3.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource
from modelvault_converters.gguf.rows import READABLE, Stored, to_floats
from modelvault_converters.gguf.scaling import Blocks, Scaling
from modelvault_converters.gguf.tensors import Floats

DTYPE = "F8_E4M3"

_UNUSED = (".input_scale", ".activation_scale", ".k_scale", ".v_scale")
"""Factors of what is computed while the model runs: they say nothing of a weight."""

_SHOWN = 100


class ScaledWeights:
    """The rows of one FP8 tensor, multiplied by their factors as they are read."""

    def __init__(self, weights: Stored, factors: Stored, blocks: Blocks) -> None:
        """View a weight through its factors.

        Args:
            weights: FP8, ``[rows, columns]``.
            factors: Of its blocks, a matrix; their shapes have been compared.
            blocks: How many rows and columns share a factor.
        """
        self.path = weights.file.path
        self._weights, self._factors, self._blocks = weights, factors, blocks

    def read_rows(self, tensor: Stored, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``[start, stop)`` as the bits of float32, uint32 ``[rows, columns]``.

        Raises:
            MalformedWeights: The file ends early, or a value is NaN or infinite.
        """
        bits = self._weights.file.read_rows(self._weights, start, stop)
        values: Floats = np.take(VALUES, bits)
        height = self._blocks.rows
        first = start // height
        stored = self._factors
        rows = stored.file.read_rows(stored, first, -(-stop // height))
        factors = to_floats(rows, stored.dtype)
        wide = np.repeat(factors, self._blocks.columns, axis=1)[:, : values.shape[1]]
        with np.errstate(over="ignore"):  # infinity is looked for below
            if height == 1:
                values *= wide
            else:
                for number, row in enumerate(wide, start=first):
                    low, high = max(number * height - start, 0), (number + 1) * height - start
                    values[low:high] *= row
        if not np.isfinite(values).all():
            raise MalformedWeights(
                f"{self.path}: tensor '{tensor.name}' is infinite once scaled "
                f"(rows {start} to {stop - 1})",
                hint="the checkpoint itself is broken: ask its publisher, or use another revision",
            )
        return values.view(np.uint32)


def scaled(stored: Mapping[str, Stored], scaling: Scaling | None) -> Mapping[str, Stored]:
    """Return the tensors of a model with every FP8 weight seen as float32.

    Args:
        stored: The tensors of the weight files, by name.
        scaling: Where factors are; None leaves ``stored`` as it is.

    Raises:
        SourceIncomplete: A weight has no factors.
        UnsupportedSource: Factors do not fit their weight.
    """
    if scaling is None:
        return stored
    result = {name: tensor for name, tensor in stored.items() if not name.endswith(_UNUSED)}
    issues, missing = [], []
    for name, weights in stored.items():
        if weights.dtype != DTYPE:
            continue
        factors = result.pop(name + scaling.suffix, None)
        if factors is None:
            missing.append(f"tensor '{name + scaling.suffix:.200}' is missing")
            continue
        blocks = scaling.blocks or _blocks_of(weights, factors)
        if issue := _compare(weights, factors, blocks):
            issues.append(issue)
        else:
            result[name] = _view(weights, factors, blocks)
    faults = missing + issues
    if faults:
        kind = SourceIncomplete if missing else UnsupportedSource
        raise kind(
            f"the FP8 weights and their factors do not fit: {faults[0]}",
            hint="pull and convert its 16-bit version",
            issues=faults[:_SHOWN],
        )
    return result


def _blocks_of(weights: Stored, factors: Stored) -> Blocks:
    """Return what shares a factor, where there is one for the matrix or one for each row."""
    rows, columns = (*weights.shape, 1, 1)[:2]
    alone = factors.shape in ((), (1,), (1, 1))
    return Blocks(rows=max(rows, 1) if alone else 1, columns=max(columns, 1))


def _view(weights: Stored, factors: Stored, blocks: Blocks) -> Stored:
    matrix = factors if len(factors.shape) == 2 else replace(factors, shape=(*factors.shape, 1))
    return Stored(
        name=weights.name,
        dtype="F32",
        shape=weights.shape,
        offset=weights.offset,
        size=weights.size * 4,
        file=ScaledWeights(weights, matrix, blocks),
    )


def _compare(weights: Stored, factors: Stored, blocks: Blocks) -> str:
    """Return what is wrong with a pair; empty when nothing is."""
    if len(weights.shape) != 2:
        return f"tensor '{weights.name:.200}' has shape {list(weights.shape)}, not a matrix's"
    rows, columns = weights.shape
    expected = (-(-rows // blocks.rows), -(-columns // blocks.columns))
    # One column may be left unsaid, and one factor be no list at all.
    spelled = {expected, expected[:1] if expected[1] == 1 else expected}
    if factors.shape not in spelled | ({()} if expected == (1, 1) else set()):
        return f"tensor '{factors.name:.200}' has shape {list(factors.shape)}, not {list(expected)}"
    if factors.dtype not in READABLE:
        return f"tensor '{factors.name:.200}' is of type {factors.dtype:.20}"
    return ""


def _decoded() -> Floats:
    """Return the value of each of the 256 bytes, float32 ``[256]``.

    One sign, four bits of exponent with bias 7, three of fraction; no infinity, and NaN where
    all bits but the sign are set.
    """
    codes = np.arange(256)
    exponent, fraction = codes >> 3 & 15, (codes & 7) / 8
    size = np.where(exponent == 0, fraction * 2.0**-6, (1 + fraction) * 2.0 ** (exponent - 7.0))
    size[codes & 127 == 127] = np.nan
    result: Floats = np.where(codes >> 7 == 1, -size, size).astype(np.float32)
    return result


VALUES = _decoded()
"""Value of each byte of E4M3."""
