"""What a model's weights take: from the headers of its files, tensor by tensor.

Example:
    >>> table = WeightTable.of([Tensor(name="lm_head.weight", shape=(32, 64), size=4096)])
    >>> table.size, table.output
    (4096, 4096)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import Self


class Role(StrEnum):
    """What a tensor is for, as far as quantisations tell them apart."""

    EMBEDDING = "embedding"
    OUTPUT = "output"
    VALUE = "value"
    """Attention's values."""
    ATTENTION_OUTPUT = "attention-output"
    DOWN = "down"
    """The last matrix of a feed-forward."""
    MATRIX = "matrix"
    SMALL = "small"
    """Norms, biases and routers, which stay as they are."""


_PATTERNS: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (Role.EMBEDDING, re.compile(r"(?:embed_tokens|token_embd|word_embeddings|\bwte)\.weight$")),
    (Role.OUTPUT, re.compile(r"(?:^|\.)(?:lm_head|output)\.weight$")),
    (Role.SMALL, re.compile(r"norm|\.bias$|ffn_gate_inp|\.gate\.weight$|router")),
    (Role.VALUE, re.compile(r"(?:v_proj|attn_v)\.weight")),
    (Role.ATTENTION_OUTPUT, re.compile(r"(?:o_proj|attn_output)\.weight")),
    (Role.DOWN, re.compile(r"down_proj|ffn_down|\.w2\.weight")),
)
_LAYER = re.compile(r"(?:layers|blk|h|blocks)\.(\d+)\.")
_SCALES = re.compile(
    r"(?:_scale_inv|\.weight_scale\w*|\.scales|\.qzeros|\.g_idx|_scales|input_scale)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a file."""

    name: str
    shape: tuple[int, ...]
    """Slowest dimension first."""
    size: int
    """Bytes."""
    type: str = ""
    """As its format spells it."""

    @property
    def count(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def role(self) -> Role:
        """What it is for."""
        if len(self.shape) < 2 and not self.name.endswith(("qweight", "weight_packed")):
            return Role.SMALL
        found = (role for role, pattern in _PATTERNS if pattern.search(self.name))
        return next(found, Role.MATRIX)

    @property
    def layer(self) -> int | None:
        """Number of its layer; None for what stands outside of them."""
        found = _LAYER.search(self.name)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTable:
    """The tensors of a model."""

    tensors: tuple[Tensor, ...] = field(repr=False)
    """Empty where only the sizes of files are known."""
    size: int
    """Bytes of all tensors."""
    exact: bool = True
    """Whether headers said so; False for the sizes of the files that hold them."""

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> Self:
        """Return the table of some tensors."""
        found = tuple(tensors)
        return cls(tensors=found, size=sum(tensor.size for tensor in found))

    @property
    def embedding(self) -> int:
        """Bytes of the embeddings of tokens."""
        return self._of(Role.EMBEDDING)

    @property
    def output(self) -> int:
        """Bytes of what turns the last layer into tokens; 0 where the embeddings do that, too."""
        return self._of(Role.OUTPUT)

    @property
    def is_whole(self) -> bool:
        """Whether every matrix is of 16 or 32 bits, so that other sizes can be computed."""
        return bool(self.tensors) and not any(
            _SCALES.search(tensor.name) or tensor.type.startswith(("F8", "I8", "U8", "I32", "F4"))
            for tensor in self.tensors
        )

    def _of(self, role: Role) -> int:
        return sum(tensor.size for tensor in self.tensors if tensor.role is role)
