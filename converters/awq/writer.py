"""Write a safetensors checkpoint whose tensors are known beforehand, in any order.

Every place is fixed before the first byte is written: each tensor goes straight to its
offset, block by block, and nothing is held. Within a file wide types come first, so that
every tensor starts at a multiple of its type's width.

Source: https://github.com/huggingface/safetensors#format
"""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from modelvault.errors import ConverterCrashed

SHARD = 5_000_000_000
"""Bytes of tensors a file holds at most, where it holds more than one."""

_WIDTHS = {"F32": 4, "I32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1}
_TORCH = {
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "I8": torch.int8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
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
class _Place:
    output: Output
    descriptor: int
    offset: int


class CheckpointWriter:
    """The files of one checkpoint, open for writing."""

    def __init__(self, folder: Path, outputs: Sequence[Output], stack: ExitStack) -> None:
        """Create the files with their headers.

        Args:
            folder: Existing folder.
            outputs: Every tensor of the checkpoint.
            stack: Closes the files.
        """
        shards = _partition(outputs, SHARD)
        self.files = _names(len(shards))
        """Names of the weight files."""
        self.done = 0
        """Bytes of tensors written so far."""
        self._folder = folder
        self._total = sum(output.size for output in outputs)
        self._map = {output.name: name for name, part in zip(self.files, shards) for output in part}
        self._open: list[int] = []
        self._places: dict[str, _Place] = {}
        for name, part in zip(self.files, shards):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            stack.callback(os.close, descriptor)
            self._open.append(descriptor)
            self._begin(descriptor, part)

    def write(self, name: str, blocks: Iterable[torch.Tensor]) -> None:
        """Write a tensor given as blocks of rows, in their order.

        Raises:
            ConverterCrashed: The blocks are not the tensor that was announced.
        """
        place = self._places.pop(name)
        offset, end = place.offset, place.offset + place.output.size
        for block in blocks:
            data = block.detach().cpu().contiguous()
            if data.dtype != _TORCH[place.output.dtype] or offset + data.nbytes > end:
                raise ConverterCrashed(f"tensor '{name}' is not what was announced")
            _write_all(place.descriptor, data.reshape(-1).view(torch.uint8), offset)
            offset += data.nbytes
            self.done += data.nbytes
        if offset != end:
            raise ConverterCrashed(f"tensor '{name}' ended {end - offset} bytes early")

    def finish(self) -> tuple[str, ...]:
        """Flush everything to disk; return the names of the files, the index included.

        Raises:
            ConverterCrashed: A tensor was announced and not written.
        """
        if self._places:
            raise ConverterCrashed(f"tensor '{next(iter(self._places))}' was not written")
        for descriptor in self._open:
            os.fsync(descriptor)
        if len(self.files) == 1:
            return self.files
        index = {"metadata": {"total_size": self._total}, "weight_map": self._map}
        name = "model.safetensors.index.json"
        write_file(self._folder / name, json.dumps(index, indent=2, sort_keys=True).encode())
        return (*self.files, name)

    def _begin(self, descriptor: int, part: list[Output]) -> None:
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        ordered = sorted(part, key=lambda item: -_WIDTHS[item.dtype])
        offsets, end = {}, 0
        for output in ordered:
            offsets[output.name] = end
            entries[output.name] = {
                "dtype": output.dtype,
                "shape": list(output.shape),
                "data_offsets": [end, end + output.size],
            }
            end += output.size
        header = json.dumps(entries, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        start = 8 + len(header)
        _write_all(descriptor, memoryview(len(header).to_bytes(8, "little") + header), 0)
        os.ftruncate(descriptor, start + end)
        for output in ordered:
            self._places[output.name] = _Place(
                output=output, descriptor=descriptor, offset=start + offsets[output.name]
            )


def write_file(path: Path, data: bytes) -> None:
    """Write a small file and flush it to disk."""
    with open(path, "xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _partition(outputs: Sequence[Output], limit: int) -> list[list[Output]]:
    shards: list[list[Output]] = [[]]
    size = 0
    for output in outputs:
        if shards[-1] and size + output.size > limit:
            shards.append([])
            size = 0
        shards[-1].append(output)
        size += output.size
    return shards


def _names(count: int) -> tuple[str, ...]:
    if count == 1:
        return ("model.safetensors",)
    return tuple(f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1))


def _write_all(descriptor: int, data: torch.Tensor | memoryview, offset: int) -> None:
    view = data.numpy().data if isinstance(data, torch.Tensor) else data
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
