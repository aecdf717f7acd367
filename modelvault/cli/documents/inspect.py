"""What ``inspect`` prints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from modelvault.app.inspect import Inspected, Tensor
from modelvault.cli.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedType(Document):
    """All tensors of one type."""

    type: str
    tensor_count: int
    parameters: int
    """Number of weights."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedTensor(Document):
    """One tensor."""

    name: str
    type: str
    """As its format spells it."""
    shape: tuple[int, ...]
    """Slowest dimension first, whatever the file's order."""
    parameters: int
    offset: int
    """Bytes from the start of its file."""
    size: int | None
    """Null for a type that this release does not know."""
    file: str

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """Return one tensor for programs."""
        return cls(
            name=tensor.name,
            type=tensor.type,
            shape=tensor.shape,
            parameters=tensor.count,
            offset=tensor.offset,
            size=tensor.size,
            file=tensor.file,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedModel(Document):
    """What a weight file, or a set of shards, holds."""

    format: str
    """``gguf`` or ``safetensors``."""
    files: tuple[str, ...]
    size: int
    parameters: int
    bits_per_weight: float
    metadata: Mapping[str, str | int | float | bool] = field(hash=False)
    """Scalars and texts; NaN and infinity as text."""
    arrays: Mapping[str, int] = field(hash=False)
    """Metadata that are lists, with their length."""
    types: tuple[InspectedType, ...]
    tensors: tuple[InspectedTensor, ...]

    @classmethod
    def of(cls, found: Inspected) -> Self:
        """Return what was found for programs."""
        return cls(
            format=found.format,
            files=found.files,
            size=found.size,
            parameters=found.parameters,
            bits_per_weight=round(found.bits_per_weight, 4),
            metadata={key: _plain(value) for key, value in found.metadata.items()},
            arrays=found.arrays,
            types=tuple(
                InspectedType(
                    type=total.type,
                    tensor_count=total.tensors,
                    parameters=total.parameters,
                    size=total.size,
                )
                for total in found.totals
            ),
            tensors=tuple(map(InspectedTensor.of, found.tensors)),
        )


def _plain(value: str | float | bool) -> str | int | float | bool:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
