"""The model to convert: small files with bounds, weights tensor by tensor or by rows.

Reading a tensor costs no more memory than the tensor.

Source: https://github.com/huggingface/safetensors#format
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from converters.awq.raw import as_bytes, read_all
from converters.checkpoint import INDEX, SINGLE, Checkpoint, wrong_size
from modelvault.core.protocol import SourceFile
from modelvault.core.safetensors_header import TensorEntry, read_header
from modelvault.errors import (
    MalformedRecord,
    MalformedWeights,
    SourceIncomplete,
    UnsupportedSource,
)

_MIB = 1024 * 1024
_BLOCK = 32 * _MIB
"""Bytes of a tensor that are held at once where it is streamed."""

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
"""Types of weights that are read."""

_SIDE_FILES = re.compile(
    r"tokenizer[\w.-]*\.(json|model)|vocab\.(json|txt)|merges\.txt|special_tokens_map\.json"
    r"|added_tokens\.json|generation_config\.json|chat_template\.(json|jinja)|tekken\.json"
    r"|spiece\.model|[\w.-]+\.tiktoken|additional_chat_templates/[\w.-]+\.jinja"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One tensor of the source."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: str
    """File that holds it."""
    offset: int
    """Bytes from the start of the file."""

    @property
    def count(self) -> int:
        """Number of weights."""
        return prod(self.shape)


class Source(Checkpoint):
    """The files of one model, by their path inside it."""

    def side_files(self) -> Iterator[SourceFile]:
        """Yield what a server needs beside weights and ``config.json``."""
        for path, file in sorted(self._files.items()):
            if _SIDE_FILES.fullmatch(path):
                yield file

    def object(self, path: str) -> dict[str, Any]:
        """Return the JSON object in a small file.

        Raises:
            MalformedRecord: Not a JSON object.
            SourceIncomplete: The model has no such file.
            SizeMismatch: Its length is not what the manifest promises.
            UnsupportedSource: It is larger than any real file of its name.
        """
        try:
            value = json.loads(self.read(path))
        except (ValueError, RecursionError) as error:
            raise MalformedRecord(f"{path} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise MalformedRecord(f"{path} holds no JSON object")
        return value

    def weights(self, stack: ExitStack) -> "Weights":
        """Return the weights, open until the stack is closed.

        Raises:
            SourceIncomplete: Files or tensors are missing.
            MalformedWeights: A file is malformed, or a tensor is in two files.
            UnsupportedSource: There are no safetensors weights, or of an unreadable type.
        """
        index = self._index()
        paths = sorted(set(index.values())) if index else [SINGLE]
        missing = [path for path in paths if path not in self._files]
        if missing == [SINGLE] and not index:
            raise UnsupportedSource(
                f"the model has neither {SINGLE} nor {INDEX}",
                hint="pull a revision with safetensors files, without --exclude for them",
            )
        if missing:
            raise SourceIncomplete(
                f"{len(missing)} of {len(paths)} weight files are missing: {missing[0]} …",
                hint="pull the model again without --exclude patterns for its weights",
                issues=[f"{path} is missing" for path in missing[:100]],
            )
        weights = Weights([self._file(path) for path in paths], stack)
        lost = [name for name, path in index.items() if not weights.is_in(name, path)]
        if lost:
            raise SourceIncomplete(
                f"{INDEX} names {len(lost)} tensors that are not where it says: {lost[0]:.200}",
                hint="pull the model again: index and shards are of different revisions",
                issues=lost[:100],
            )
        return weights


class Weights:
    """Open weight files; tensors by their name.

    What is read is held by whoever reads it and by nobody else: files are not mapped, for what
    was mapped would count as this process's memory until the kernel takes it back.
    """

    def __init__(self, files: list[SourceFile], stack: ExitStack) -> None:
        """Open the files and read their headers; see ``Source.weights``."""
        self._open: dict[str, int] = {}
        self.tensors: dict[str, Stored] = {}
        for file in files:
            stream = stack.enter_context(open(file.location, "rb", buffering=0))
            if os.fstat(stream.fileno()).st_size != file.size:
                raise wrong_size(file)
            self._open[file.path] = stream.fileno()
            try:
                header = read_header(stream, file.size)
            except MalformedWeights as error:
                raise MalformedWeights(
                    f"{file.path}: {error}",
                    hint="run 'modelvault verify', then pull the model again",
                ) from error
            for entry in header.tensors:
                self._add(entry, file.path)
        foreign = sorted({item.dtype for item in self.tensors.values()} - DTYPES.keys())
        if foreign:
            raise UnsupportedSource(
                f"the weights are of type {', '.join(foreign)}, not {', '.join(DTYPES)}: "
                "already quantised?",
                hint="convert the publisher's 16-bit model instead",
            )

    def is_in(self, name: str, path: str) -> bool:
        """Return whether the tensor ``name`` is held by the file ``path``."""
        return name in self.tensors and self.tensors[name].path == path

    def read(self, name: str) -> torch.Tensor:
        """Return a whole tensor as stored.

        Raises:
            MalformedWeights: It holds NaN or infinity.
        """
        stored = self.tensors[name]
        return self._read(stored, 0, stored.shape)

    def blocks(self, name: str) -> Iterator[torch.Tensor]:
        """Yield a tensor in blocks of rows, as stored; their concatenation is the tensor.

        Raises:
            MalformedWeights: It holds NaN or infinity.
        """
        stored = self.tensors[name]
        if len(stored.shape) < 2 or stored.count * 4 <= _BLOCK:
            yield self.read(name)
            return
        width = stored.count // stored.shape[0]
        step = max(1, _BLOCK // (4 * width))
        for start in range(0, stored.shape[0], step):
            rows = min(step, stored.shape[0] - start)
            yield self._read(stored, start * width, (rows, *stored.shape[1:]))

    def rows(self, name: str, numbers: torch.Tensor) -> torch.Tensor:
        """Return some rows of a matrix as stored, ``[rows, width]``.

        Args:
            name: Of the matrix.
            numbers: Of the rows, int64 ``[rows]``.

        Raises:
            MalformedWeights: They hold NaN or infinity.
        """
        stored = self.tensors[name]
        width = stored.shape[1]
        found = [self._read(stored, number * width, (width,)) for number in numbers.tolist()]
        return torch.stack(found)

    def _read(self, stored: Stored, start: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Return ``shape`` values from the ``start``-th on."""
        values = torch.empty(shape, dtype=DTYPES[stored.dtype], device="cpu")
        offset = stored.offset + start * values.element_size()
        if not read_all(self._open[stored.path], as_bytes(values), offset):
            raise MalformedWeights(f"{stored.path} became shorter while it was read")
        if not bool(torch.isfinite(values).all()):
            raise MalformedWeights(
                f"tensor '{stored.name:.200}' holds NaN or infinity",
                hint="the checkpoint itself is broken: ask its publisher, or use another revision",
            )
        return values

    def _add(self, entry: TensorEntry, path: str) -> None:
        if entry.name in self.tensors:
            raise MalformedWeights(
                f"tensor '{entry.name:.200}' is in {self.tensors[entry.name].path} and in {path}"
            )
        self.tensors[entry.name] = Stored(
            name=entry.name, dtype=entry.dtype, shape=entry.shape, path=path, offset=entry.offset
        )
