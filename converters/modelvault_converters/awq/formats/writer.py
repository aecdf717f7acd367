"""Write a checkpoint that is planned, its tensors in any order, or go on with one.

Each tensor goes straight to its destination, block by block, and nothing is held.
"""

import os
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from modelvault.core.model_files import MODEL_INDEX
from modelvault.errors import ConverterCrashed
from modelvault_converters.awq.formats.outputs import OutputCheckpoint, OutputFile, OutputTensor
from modelvault_converters.awq.raw import as_bytes
from modelvault_converters.positioned import write_all

_TORCH = {
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "I8": torch.int8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Destination:
    output: OutputTensor
    descriptor: int
    offset: int


class CheckpointWriter:
    """The files of one checkpoint, open for writing."""

    def __init__(
        self,
        folder: Path,
        planned: OutputCheckpoint,
        stack: ExitStack,
        *,
        written: Collection[str] = (),
    ) -> None:
        """Create the files with their headers, or open those that an earlier run left.

        Args:
            folder: Existing folder.
            planned: The checkpoint.
            stack: Closes the files.
            written: Tensors that the files hold already; none where the files are new.
        """
        self._folder = folder
        self._planned = planned
        self._open: list[int] = []
        self._destinations: dict[str, _Destination] = {}
        self.done = 0
        """Bytes of tensors written so far."""
        for file in planned.files:
            flags = os.O_WRONLY if written else os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(folder / file.name, flags, 0o644)
            stack.callback(os.close, descriptor)
            self._open.append(descriptor)
            if not written:
                write_all(descriptor, memoryview(file.head), 0)
                os.ftruncate(descriptor, file.size)
            for offset, output in file.offsets():
                if output.name in written:
                    self.done += output.size
                else:
                    destination = _Destination(output=output, descriptor=descriptor, offset=offset)
                    self._destinations[output.name] = destination

    def write(self, name: str, blocks: Iterable[torch.Tensor]) -> None:
        """Write a tensor given as blocks of rows, in their order.

        Raises:
            ConverterCrashed: The blocks are not the tensor that was announced.
        """
        destination = self._destinations.pop(name)
        offset, end = destination.offset, destination.offset + destination.output.size
        for block in blocks:
            data = block.detach().cpu().contiguous()
            if data.dtype != _TORCH[destination.output.dtype] or offset + data.nbytes > end:
                raise ConverterCrashed(f"tensor '{name}' is not what was announced")
            write_all(destination.descriptor, as_bytes(data), offset)
            offset += data.nbytes
            self.done += data.nbytes
        if offset != end:
            raise ConverterCrashed(f"tensor '{name}' ended {end - offset} bytes early")

    def flush(self) -> None:
        """Bring what was written to the disk."""
        for descriptor in self._open:
            os.fsync(descriptor)

    def finish(self) -> tuple[str, ...]:
        """Flush everything to disk; return the names of the files, the index included.

        Raises:
            ConverterCrashed: A tensor was announced and not written, or the format's own library
                finds something else than was announced.
        """
        if self._destinations:
            raise ConverterCrashed(f"tensor '{next(iter(self._destinations))}' was not written")
        self.flush()
        for file in self._planned.files:
            _read_back(self._folder, file)
        names = tuple(file.name for file in self._planned.files)
        index = self._planned.index()
        if index is None:
            return names
        write_file(self._folder / MODEL_INDEX, index)
        return (*names, MODEL_INDEX)


def _read_back(folder: Path, file: OutputFile) -> None:
    """Have the format's own library read the header, which only ours has read so far.

    Raises:
        ConverterCrashed: It refuses the file, or finds other tensors.
    """
    try:
        with safe_open(folder / file.name, "pt") as weights:
            slices = {name: weights.get_slice(name) for name in weights.offset_keys()}
            found = {name: (part.get_dtype(), tuple(part.get_shape()))
                     for name, part in slices.items()}  # fmt: skip
    except SafetensorError as error:
        raise ConverterCrashed(f"{file.name} cannot be read: {error}") from error
    if found != {output.name: (output.dtype, output.shape) for output in file.tensors}:
        raise ConverterCrashed(f"{file.name} holds other tensors than were announced")


def is_begun(folder: Path, file: OutputFile) -> bool:
    """Return whether a folder holds a file of this head and size."""
    try:
        with open(folder / file.name, "rb") as stream:
            same = stream.read(len(file.head)) == file.head
            return same and os.fstat(stream.fileno()).st_size == file.size
    except FileNotFoundError:
        return False


def write_file(path: Path, data: bytes) -> None:
    """Write a small file and flush it to disk."""
    with open(path, "xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
