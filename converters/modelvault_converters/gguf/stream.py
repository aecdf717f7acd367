"""Carry the weights over: each row is read once, converted for every target, written once.

The work is cut into slices of whole rows, a few MB each, that threads take one by one. A slice
knows where its bytes go in every file, so slices may end in any order and memory stays flat.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from modelvault.core.ggml import GgmlType
from modelvault.errors import NoSpace
from modelvault_converters.durable import flush_folder
from modelvault_converters.gguf.container import PlacedTensor
from modelvault_converters.gguf.plan import Plan, PlannedTarget
from modelvault_converters.gguf.quantize import encode, prepare
from modelvault_converters.gguf.rows import Stored, to_floats
from modelvault_converters.gguf.tensors import Floats, Part, Tensor
from modelvault_converters.positioned import write_all

SLICE = 2 * 1024 * 1024
"""Weights that are in a thread's hands at once: 8 MB as float32."""

_IN_FLIGHT = 2
"""Slices a thread is given ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """Whole rows of one part, and where they stand in their tensor."""

    number: int
    """Index of the tensor in the plan."""
    part: Part
    stored: Stored
    start: int
    """Row of the stored tensor."""
    stop: int
    row: int
    """Row of the result at which ``start`` lands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Bytes written so far, by target."""

    done: tuple[int, ...]


class _Output:
    """One file under construction; removed unless it is finished."""

    def __init__(self, folder: Path, planned: PlannedTarget) -> None:
        self.planned = planned
        self.path = folder / planned.file
        self._finished = False
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if not self._finished:
            self.path.unlink(missing_ok=True)

    def start(self) -> None:
        """Set the length, whose gaps read as zero, and write everything before the data."""
        os.ftruncate(self._descriptor, self.planned.container.size)
        self.write(memoryview(self.planned.container.head), 0)

    def write(self, data: memoryview, offset: int) -> None:
        write_all(self._descriptor, data, offset)

    def finish(self) -> None:
        """Flush the file to disk; from here on it stays."""
        os.fsync(self._descriptor)
        self._finished = True


def write_targets(plan: Plan, folder: Path, *, threads: int) -> Iterator[Progress]:
    """Write every target of ``plan`` into ``folder``, durably; yield progress as it goes.

    When the iteration ends early, by an error or by its caller, no file is left.

    Args:
        plan: What to write.
        folder: Existing folder without files of these names.
        threads: Worker threads; 0 for one per core.

    Raises:
        NoSpace: The files do not fit; nothing was written.
        MalformedWeights: A weight is NaN or infinite, or a file ends early.
        UnsupportedTarget: A weight is beyond what F16 holds.
        ConverterMissing: The quantiser's library is missing.
        OSError: The file system refuses.
    """
    _prepare(plan, folder)
    with ExitStack() as stack:
        outputs = [stack.enter_context(_Output(folder, planned)) for planned in plan.targets]
        for output in outputs:
            output.start()
        done = [len(planned.container.head) for planned in plan.targets]
        _write_constants(plan, outputs, done)
        for written in _work(plan, outputs, threads or os.cpu_count() or 1):
            done = [total + count for total, count in zip(done, written)]
            yield Progress(done=tuple(done))
        for output in outputs:
            output.finish()
        flush_folder(folder)


def _prepare(plan: Plan, folder: Path) -> None:
    """Check what can be checked before the first byte: the quantiser and the disk."""
    prepare({type_ for item in plan.targets for type_ in item.types})
    needed = sum(item.container.size for item in plan.targets)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise NoSpace(
            f"the results take {needed} bytes and {free} are free in {folder}",
            hint=f"free at least {needed - free} bytes, or convert to fewer types at once",
        )


def _work(plan: Plan, outputs: Sequence[_Output], threads: int) -> Iterator[list[int]]:
    """Run the slices in threads; yield the bytes each one wrote, by target."""
    waiting: deque[Future[list[int]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="gguf") as pool:
        try:
            for piece in _slices(plan):
                waiting.append(pool.submit(_carry, plan, piece, outputs))
                if len(waiting) >= threads * _IN_FLIGHT:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _slices(plan: Plan) -> Iterator[_Slice]:
    for number, tensor in enumerate(plan.tensors):
        row = 0
        for part in tensor.parts:
            step = _step(part)
            for start in range(0, part.rows, step):
                yield _Slice(
                    number=number,
                    part=part,
                    stored=plan.stored[part.name],
                    start=part.first + start,
                    stop=part.first + min(start + step, part.rows),
                    row=row + start,
                )
            row += part.result_rows


def _step(part: Part) -> int:
    """Return the rows of a slice: whole groups, and all of a part that is transposed."""
    if part.transposed:
        return part.rows
    group = len(part.permutation) or 1
    return max(SLICE // max(part.columns * group, 1), 1) * group


def _carry(plan: Plan, piece: _Slice, outputs: Sequence[_Output]) -> list[int]:
    """Read, convert and write one slice; return the bytes written, by target."""
    tensor = plan.tensors[piece.number]
    bits = _arranged(piece.stored.file.read_rows(piece.stored, piece.start, piece.stop), piece.part)
    if tensor.carried is not None:
        return [_write(bits, output, piece, tensor) for output in outputs]
    values = to_floats(bits, piece.stored.dtype)
    made: dict[GgmlType, npt.NDArray[Any]] = {}
    if piece.part.add:
        values = values + np.float32(piece.part.add)
    elif piece.stored.dtype == "BF16":
        made[GgmlType.BF16] = bits  # already what it is to become
    written = []
    for output in outputs:
        placed = output.planned.container.tensors[piece.number]
        if placed.type not in made:
            made[placed.type] = _encode(plan, tensor, placed.type, values, piece.row)
        written.append(_write(made[placed.type], output, piece, tensor))
    return written


def _write(rows: npt.NDArray[Any], output: _Output, piece: _Slice, tensor: Tensor) -> int:
    """Write the rows of a slice in their type; return their bytes."""
    placed = output.planned.container.tensors[piece.number]
    data = _bytes(rows)
    output.write(data, placed.offset + _offset(tensor, placed, piece))
    return len(data)


def _arranged(bits: npt.NDArray[Any], part: Part) -> npt.NDArray[Any]:
    if part.transposed:
        return np.ascontiguousarray(bits.T)
    if not part.permutation:
        return bits
    group = len(part.permutation)
    heads = bits.reshape(-1, group, bits.shape[1])
    return np.take(heads, part.permutation, axis=1).reshape(bits.shape)


def _encode(
    plan: Plan, tensor: Tensor, type_: GgmlType, values: Floats, row: int
) -> npt.NDArray[Any]:
    """Return the bytes of rows that begin at ``row`` of the result, weighted where known."""
    if plan.importance is None or not type_.is_quantized:
        return encode(values, type_, tensor.name)
    # Every expert has an importance matrix of its own; a slice may reach over several.
    matrix_rows = tensor.shape[-2]
    parts = []
    start = 0
    while start < len(values):
        matrix, inside = divmod(row + start, matrix_rows)
        stop = min(start + matrix_rows - inside, len(values))
        weights = plan.importance.weights(tensor, matrix, type_)
        parts.append(encode(values[start:stop], type_, tensor.name, weights))
        start = stop
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _offset(tensor: Tensor, placed: PlacedTensor, piece: _Slice) -> int:
    """Return where the slice begins in its tensor's data, in bytes."""
    if len(tensor.shape) == 1:  # a vector is read as a column and never in blocks
        return piece.row * placed.type.row_bytes(1)
    return piece.row * placed.type.row_bytes(tensor.columns)


def _write_constants(plan: Plan, outputs: Sequence[_Output], done: list[int]) -> None:
    for number, tensor in enumerate(plan.tensors):
        if tensor.constant is None:
            continue
        for index, output in enumerate(outputs):
            placed = output.planned.container.tensors[number]
            rows: Floats = tensor.constant.reshape(-1, tensor.columns)
            data = _bytes(encode(rows, placed.type, tensor.name))
            output.write(data, placed.offset)
            done[index] += len(data)


def _bytes(values: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values).data.cast("B")
