"""What a model consists of, as its family describes it before any weight is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from modelvault.core.ggml import GgmlType

Shapes = Mapping[str, tuple[int, ...]]
"""Hub name of every stored tensor → its shape."""

Floats = npt.NDArray[np.float32]

Kind = Literal["bool", "u32", "i32", "f32", "string", "strings", "f32s", "i32s", "u8s", "bools"]
Value = bool | int | float | str | Sequence[str] | Sequence[float] | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One metadata key of a GGUF file."""

    key: str
    kind: Kind
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one tensor of the source, read in order and, where asked for, rearranged.

    A tensor of the source is seen as a matrix: its last dimension is a row, and all others
    count rows. A vector is a column.
    """

    name: str
    """Hugging Face name."""
    shape: tuple[int, ...]
    """Shape the stored tensor must have, rows first."""
    first: int = 0
    """Row of the matrix at which the part begins."""
    count: int = 0
    """Rows it takes; 0 for all that follow."""
    permutation: tuple[int, ...] = ()
    """Order of the rows within each group of ``len(permutation)`` rows; empty for as is."""
    transposed: bool = False
    """Whether rows become columns; such a part is read whole, so it must be small."""
    add: float = 0.0
    """What is added to every value, in float32."""
    drops_rest: bool = False
    """Whether rows of the source that no part takes are left out on purpose."""
    copied: bool = False
    """Whether other tensors may take the same rows, too."""

    @property
    def rows(self) -> int:
        """Rows of the source that the part takes."""
        return self.count or prod(self.shape) // self.columns - self.first

    @property
    def columns(self) -> int:
        """Weights a row of the source."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    @property
    def result_rows(self) -> int:
        """Rows that the part fills in the result."""
        return self.columns if self.transposed else self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of the result: source parts one after another, or a constant."""

    name: str
    """GGUF name."""
    shape: tuple[int, ...]
    """Rows first, the reverse of the file's order."""
    parts: tuple[Part, ...] = ()
    constant: Floats | None = None
    carried: GgmlType | None = None
    """Type in which the source stores it already, and in which it stays; None for any."""

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
    """Experts of a block; 0 where every weight takes part in every token."""
    ignored: frozenset[str] = frozenset()
    """Source tensors that hold nothing a runtime needs."""
    tied: bool = False
    """Whether the output shares the embedding's weights."""
    special: Mapping[str, str | int] = field(default_factory=dict, hash=False)
    """Special tokens that the family knows and the model's files may leave unsaid: GGUF's role
    (``eot`` ends a turn) → text, or id where that is what is known. See ``tokenizer.special``."""
    warnings: tuple[str, ...] = ()
