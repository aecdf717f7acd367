"""How a GGUF is cut into shards, and shards are put together: pure layout, no disk.

The first shard carries the model's metadata, every shard three keys of its own: ``split.no``
(from 0), ``split.count`` and ``split.tensors.count`` (of the whole). Metadata pairs are carried
over byte for byte; only the tensors' offsets change.

Source: llama.cpp ``tools/gguf-split``, ``src/llama-model-loader.cpp``.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modelvault.core.ggml import find_type
from modelvault.core.gguf import DEFAULT_ALIGNMENT, Header, TensorInfo
from modelvault.errors import BadOption, MalformedWeights

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
KEYS = (NUMBER, COUNT, TENSORS)
MOST_SHARDS = 65_535

_UINT16, _INT32 = 2, 5
_FIXED = 4 + 4 + 8 + 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCopy:
    """The data of one tensor: where it stands, and where it goes."""

    source: int
    """Index of the file it comes from."""
    start: int
    """Offset in that file, in bytes."""
    size: int
    target: int
    """Offset in the new file, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlan:
    """One new file: everything before the data, and the data that is copied into it."""

    head: bytes
    copies: tuple[TensorCopy, ...]
    size: int
    """Bytes of the whole file."""


def shard_name(stem: str, number: int, count: int) -> str:
    """Return the name of shard ``number`` (from 0) of ``count``, as llama.cpp looks for it."""
    return f"{stem}-{number + 1:05}-of-{count:05}.gguf"


def split(header: Header, pairs: Mapping[str, bytes], limit: int) -> tuple[FilePlan, ...]:
    """Return the shards of a file, none longer than ``limit`` bytes.

    Args:
        header: Of the file.
        pairs: Its metadata, key → the pair's bytes.
        limit: Largest shard, in bytes.

    Raises:
        BadOption: A tensor or the metadata alone exceed the limit, or it is a shard already.
        MalformedWeights: A tensor's type is not known, so its size is not.
    """
    if header.parts > 1:
        raise BadOption("this file is one shard of several", hint="merge them first")
    kept = [data for key, data in pairs.items() if key not in KEYS]
    alignment = _alignment(header)
    groups: list[list[TensorInfo]] = [[]]
    own = sum(map(len, split_pairs(0, 1, 0)))
    head, data = _FIXED + own + sum(map(len, kept)), 0
    for info in header.tensors:
        more, size = len(_describe(info)), _aligned(tensor_size(info), alignment)
        if groups[-1] and _aligned(head + more, alignment) + data + size > limit:
            groups.append([])
            head, data = _FIXED + own, 0
        if _aligned(head + more, alignment) + data + size > limit:
            raise BadOption(
                f"no shard of {limit} bytes holds tensor {info.name[:100]!r} of {size} bytes",
                hint="give a larger --max-size",
            )
        groups[-1].append(info)
        head, data = head + more, data + size
    if len(groups) > MOST_SHARDS:
        raise BadOption(f"more than {MOST_SHARDS} shards", hint="give a larger --max-size")
    plans = []
    for number, group in enumerate(groups):
        marks = split_pairs(number, len(groups), len(header.tensors))
        # Every shard needs the alignment that its offsets obey.
        rest = [pairs["general.alignment"]] if "general.alignment" in pairs else []
        carried = (kept if number == 0 else rest) + marks
        members = [(0, header.data_start, info) for info in group]
        plans.append(plan_file(carried, members, alignment))
    return tuple(plans)


def merge(headers: Sequence[Header], pairs: Mapping[str, bytes]) -> FilePlan:
    """Return the one file that shards make.

    Args:
        headers: Of all shards, in order.
        pairs: Metadata of the first, key → the pair's bytes.

    Raises:
        MalformedWeights: The shards are not one set, in order and complete.
    """
    total = sum(len(header.tensors) for header in headers)
    for number, header in enumerate(headers):
        marks = tuple(header.metadata.get(key) for key in KEYS)
        if marks != (number, len(headers), total):
            raise MalformedWeights(
                f"shard {number + 1} of {len(headers)} says {marks} of itself, "
                f"not {(number, len(headers), total)}",
                hint="the shards are of different sets: pull them again",
            )
    names = [info.name for header in headers for info in header.tensors]
    if len(set(names)) != len(names):
        raise MalformedWeights("a tensor stands in two shards", hint="pull the shards again")
    kept = [data for key, data in pairs.items() if key not in KEYS]
    members = [
        (number, header.data_start, info)
        for number, header in enumerate(headers)
        for info in header.tensors
    ]
    return plan_file(kept, members, _alignment(headers[0]))


def plan_file(
    pairs: Sequence[bytes], members: Sequence[tuple[int, int, TensorInfo]], alignment: int
) -> FilePlan:
    """Return the file that holds these pairs and tensors.

    Args:
        pairs: Metadata, one pair each.
        members: (index of the source file, start of its data section, tensor).
        alignment: Of the tensors' offsets, in bytes.
    """
    directory = bytearray()
    offset = 0
    moved: list[tuple[int, int, int, int]] = []
    for source, start, info in members:
        directory += _describe(replace(info, offset=offset))
        size = tensor_size(info)
        moved.append((source, start + info.offset, size, offset))
        offset += _aligned(size, alignment)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(members), len(pairs)) + b"".join(pairs)
    head += bytes(directory)
    head += bytes(_aligned(len(head), alignment) - len(head))
    copies = tuple(
        TensorCopy(source=source, start=start, size=size, target=len(head) + at)
        for source, start, size, at in moved
    )
    return FilePlan(head=head, copies=copies, size=len(head) + offset)


def split_pairs(number: int, count: int, tensors: int) -> list[bytes]:
    """Return the three pairs that mark a shard."""
    return [
        _pair(NUMBER, _UINT16, struct.pack("<H", number)),
        _pair(COUNT, _UINT16, struct.pack("<H", count)),
        _pair(TENSORS, _INT32, struct.pack("<i", tensors)),
    ]


def tensor_size(info: TensorInfo) -> int:
    """Return the bytes of a tensor's data.

    Raises:
        MalformedWeights: Its type is not known.
    """
    type_ = find_type(info.type)
    if type_ is None:
        raise MalformedWeights(
            f"tensor {info.name[:100]!r} is of type {info.type}, which this release does not know",
            hint="update ModelVault",
        )
    return type_.row_bytes(info.count)


def _alignment(header: Header) -> int:
    value = header.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    return int(value)  # read_header has checked it


def _aligned(size: int, alignment: int) -> int:
    return size + -size % alignment


def _describe(info: TensorInfo) -> bytes:
    dimensions = len(info.shape)
    numbers = struct.pack(f"<I{dimensions}QIQ", dimensions, *info.shape, info.type, info.offset)
    return _text(info.name) + numbers


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
