"""``gguf split`` and ``gguf merge`` of files: cut a GGUF into shards, put shards together.

Tensors are copied byte for byte, a few MB at a time; only headers are read into memory.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from modelvault import fsio
from modelvault.app.timing import timed
from modelvault.core import gguf, gguf_shards
from modelvault.core.gguf_shards import FilePlan
from modelvault.core.model_files import shard_names
from modelvault.core.ports import Progress
from modelvault.errors import (
    BadOption,
    MalformedWeights,
    SourceIncomplete,
)

_log = logging.getLogger(__name__)

_STEP = 4 * 1024 * 1024


@timed(_log, "split")
def split_file(
    path: Path, folder: Path, *, limit: int, progress: Progress, name: str = ""
) -> list[Path]:
    """Cut a GGUF into shards that llama.cpp loads by the first; return their paths.

    Args:
        path: The file.
        folder: Where the shards go; created when missing.
        limit: Largest shard, in bytes.
        progress: Told about copied bytes.
        name: The file's name where its path does not tell it.

    Raises:
        BadOption: No GGUF, a shard already, a file stands in the way, or the limit is too small.
        MalformedWeights: The header is malformed.
        StorageError: The disk is full or refuses.
    """
    name = name or path.name
    with ExitStack() as stack:
        source = _open(path, stack)
        header = _read_header(path, source)
        plans = gguf_shards.split(header, _pairs(header, source), limit)
        stem = name.removesuffix(".gguf")
        targets = [
            folder / gguf_shards.shard_name(stem, number, len(plans))
            for number in range(len(plans))
        ]
        fsio.make_folder(folder)
        _refuse_existing(targets)
        fsio.require_space(folder, sum(plan.size for plan in plans))
        progress.begin(name, total=sum(plan.size for plan in plans))
        for plan, target in zip(plans, targets):
            _write(plan, [source], target, name, progress)
        progress.end(name, note=f"{len(targets)} shards")
    return targets


@timed(_log, "merge")
def merge_files(shards: Sequence[Path], target: Path, *, progress: Progress) -> None:
    """Put all shards of a set into one GGUF.

    Args:
        shards: All of them, in order.
        target: The new file; nothing may stand there.
        progress: Told about copied bytes.

    Raises:
        BadOption: A file is no GGUF, or one stands at ``target``.
        MalformedWeights: A header is malformed, or the shards are not one set.
        StorageError: The disk is full or refuses.
    """
    _refuse_existing([target])
    with ExitStack() as stack:
        sources = [_open(path, stack) for path in shards]
        headers = [_read_header(path, source) for path, source in zip(shards, sources)]
        plan = gguf_shards.merge(headers, _pairs(headers[0], sources[0]))
        fsio.require_space(target.parent, plan.size)
        progress.begin(target.name, total=plan.size)
        _write(plan, sources, target, target.name, progress)
        progress.end(target.name, note="merged")


def find_shards(path: Path) -> list[Path]:
    """Return all shards of the set that ``path`` belongs to.

    Raises:
        BadOption: It is no shard by its name.
        SourceIncomplete: Others are missing beside it.
    """
    found = [path.with_name(name) for name in shard_names(path.name)]
    if len(found) < 2:
        raise BadOption(
            f"{path.name} is not named as a shard", hint="name one like MODEL-00001-of-00003.gguf"
        )
    missing = [shard.name for shard in found if not shard.is_file()]
    if missing:
        raise SourceIncomplete(
            f"{len(missing)} of {len(found)} shards are missing: {missing[0]}", issues=missing[:100]
        )
    return found


def _open(path: Path, stack: ExitStack) -> BinaryIO:
    with fsio.storage_errors(path):
        if not path.is_file():
            raise BadOption(f"{path}: there is no such file")
        return stack.enter_context(open(path, "rb"))


def _read_header(path: Path, file: BinaryIO) -> gguf.Header:
    try:
        return gguf.read_header(file, os.fstat(file.fileno()).st_size)
    except MalformedWeights as error:
        raise MalformedWeights(f"{path.name}: {error.message}", hint=error.hint) from error


def _pairs(header: gguf.Header, file: BinaryIO) -> dict[str, bytes]:
    return {
        key: os.pread(file.fileno(), end - start, start)
        for key, (start, end) in header.spans.items()
    }


def _refuse_existing(targets: Sequence[Path]) -> None:
    taken = [str(target) for target in targets if target.exists()]
    if taken:
        raise BadOption(
            f"{taken[0]} is there already", hint="choose another --out", issues=taken[:100]
        )


def _write(
    plan: FilePlan, sources: Sequence[BinaryIO], target: Path, task: str, progress: Progress
) -> None:
    """Write one file durably, tensor by tensor."""
    with fsio.durable_file(target) as file:
        file.write(plan.head)
        progress.advance(task, len(plan.head))
        for copy in plan.copies:
            file.write(bytes(copy.target - file.tell()))  # padding, less than an alignment
            descriptor, done = sources[copy.source].fileno(), 0
            while done < copy.size:
                data = os.pread(descriptor, min(_STEP, copy.size - done), copy.start + done)
                if not data:
                    raise MalformedWeights(f"{target.name}: its source became shorter")
                file.write(data)
                done += len(data)
                progress.advance(task, len(data))
        file.write(bytes(plan.size - file.tell()))
