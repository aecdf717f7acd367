"""What a model consists of, as its family describes it before any weight is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

Kind = Literal["bool", "u32", "i32", "f32", "string", "strings", "f32s", "i32s"]
Value = bool | int | float | str | Sequence[str] | Sequence[float] | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One metadata key of a GGUF file."""

    key: str
    kind: Kind
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One tensor of the source, read whole and in order."""

    name: str
    """Hugging Face name."""
    shape: tuple[int, ...]
    """Shape it must have, rows first."""
    permutation: tuple[int, ...] = ()
    """Order of the rows within each group of ``len(permutation)`` rows; empty for as is."""

    @property
    def rows(self) -> int:
        """Rows when seen as a matrix; a vector is a column."""
        return self.shape[0]

    @property
    def columns(self) -> int:
        """Weights a row."""
        return prod(self.shape[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of the result: source parts one after another, or a constant."""

    name: str
    """GGUF name."""
    shape: tuple[int, ...]
    """Rows first, the reverse of the file's order."""
    parts: tuple[Part, ...] = ()
    constant: Floats | None = None

    @property
    def weights(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def columns(self) -> int:
        """Weights a row, as quantisation sees rows."""
        return self.shape[-1]

    @property
    def layer(self) -> int | None:
        """Number of the block the tensor belongs to."""
        head, _, rest = self.name.partition(".")
        return int(rest.partition(".")[0]) if head == "blk" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A whole model: metadata, tensors, and what the type mixes ask about."""

    architecture: str
    """``general.architecture``."""
    entries: tuple[Entry, ...]
    """Metadata of the architecture, in file order."""
    tensors: tuple[Tensor, ...]
    vocabulary: int
    """Rows of the embedding; the token list is padded to it."""
    layers: int
    heads: int
    kv_heads: int
    experts: int = 0
    ignored: frozenset[str] = frozenset()
    """Source tensors that hold nothing a runtime needs."""
    tied: bool = False
    """Whether the output shares the embedding's weights."""
    warnings: tuple[str, ...] = field(default=())
