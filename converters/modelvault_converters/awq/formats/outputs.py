"""Where each tensor of a safetensors checkpoint will lie, before its first byte is written.

Tensors are cut into files in the order given; within a file wide types come first, so that
every tensor starts at a multiple of its type's width.

Source: https://github.com/huggingface/safetensors#format
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from modelvault.core.protocol import PlannedTensor

SHARD = 5_000_000_000
"""Bytes of tensors a file holds at most, where it holds more than one."""

_WIDTHS = {"I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTensor:
    """One tensor to be written."""

    name: str
    dtype: str
    """As safetensors spells it."""
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * _WIDTHS[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One file of a checkpoint."""

    name: str
    head: bytes
    """The file's beginning, up to the first tensor."""
    tensors: tuple[OutputTensor, ...]
    """In the order of the file, without gaps."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.head) + sum(output.size for output in self.tensors)

    def offsets(self) -> Iterator[tuple[int, OutputTensor]]:
        """Yield the tensors with their offsets from the start of the file."""
        offset = len(self.head)
        for output in self.tensors:
            yield offset, output
            offset += output.size


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheckpoint:
    """The files of a checkpoint."""

    files: tuple[OutputFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(output.size for output in self.outputs())

    @property
    def footprint(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def outputs(self) -> Iterator[OutputTensor]:
        """Yield all tensors, file by file."""
        for file in self.files:
            yield from file.tensors

    def planned_tensors(self) -> Iterator[PlannedTensor]:
        """Yield all tensors with their places, file by file."""
        for file in self.files:
            for offset, output in file.offsets():
                yield PlannedTensor(
                    name=output.name,
                    type=output.dtype,
                    shape=output.shape,
                    file=file.name,
                    offset=offset,
                    size=output.size,
                )

    def index(self) -> bytes | None:
        """Return the index over several files; None where there is one."""
        if len(self.files) == 1:
            return None
        places = {output.name: file.name for file in self.files for output in file.tensors}
        index = {"metadata": {"total_size": self.size}, "weight_map": places}
        return json.dumps(index, indent=2, sort_keys=True).encode()


def plan_checkpoint(outputs: Iterable[OutputTensor], shard: int = SHARD) -> OutputCheckpoint:
    """Return the places of tensors.

    Args:
        outputs: Every tensor of the checkpoint.
        shard: Bytes of tensors a file holds at most, where it holds more than one.
    """
    shards = _partition(outputs, shard)
    return OutputCheckpoint(
        files=tuple(_lay_file(name, part) for name, part in zip(_names(len(shards)), shards))
    )


def _partition(outputs: Iterable[OutputTensor], limit: int) -> list[list[OutputTensor]]:
    shards: list[list[OutputTensor]] = [[]]
    size = 0
    for output in outputs:
        if shards[-1] and size + output.size > limit:
            shards.append([])
            size = 0
        shards[-1].append(output)
        size += output.size
    return shards


def _names(count: int) -> Sequence[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _lay_file(name: str, part: list[OutputTensor]) -> OutputFile:
    ordered = sorted(part, key=lambda item: -_WIDTHS[item.dtype])
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for output in ordered:
        entries[output.name] = {
            "dtype": output.dtype,
            "shape": list(output.shape),
            "data_offsets": [end, end + output.size],
        }
        end += output.size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    head = len(header).to_bytes(8, "little") + header
    return OutputFile(name=name, head=head, tensors=tuple(ordered))
