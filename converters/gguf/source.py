"""The model to convert: its small files as values, its weights as open, checked tensors."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from converters.gguf.config import parse_object
from converters.gguf.safetensors import Stored, WeightFile
from modelvault.core.protocol import SourceFile
from modelvault.errors import MalformedWeights, SizeMismatch, SourceIncomplete, UnsupportedSource

INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_FOREIGN = (".bin", ".pth", ".pt", ".gguf", ".h5", ".msgpack", ".onnx")

_MIB = 1024 * 1024
LIMITS = {"tokenizer.json": 256 * _MIB, "tokenizer.model": 64 * _MIB, INDEX: 64 * _MIB}
"""Largest size, in bytes, of the small files that exceed the common limit."""
_LIMIT = 16 * _MIB


class Source:
    """The files of one model, by their path inside it."""

    def __init__(self, files: tuple[SourceFile, ...]) -> None:
        """Take the files of a request."""
        self._files = {file.path: file for file in files}

    def has(self, path: str) -> bool:
        """Return whether the model has the file."""
        return path in self._files

    def read(self, path: str) -> bytes:
        """Return a small file's bytes.

        Raises:
            SourceIncomplete: The model has no such file.
            SizeMismatch: Its length is not what the manifest promises.
            UnsupportedSource: It is larger than any real file of its name.
        """
        file = self._file(path)
        limit = LIMITS.get(path, _LIMIT)
        if file.size > limit:
            raise UnsupportedSource(f"{path} takes {file.size} bytes, more than {limit}")
        with open(file.location, "rb") as stream:
            data = stream.read(file.size + 1)
        if len(data) != file.size:
            raise SizeMismatch(
                f"{path} is not {file.size} bytes long",
                hint="run 'modelvault verify', then pull the model again",
            )
        return data

    def object(self, path: str) -> dict[str, Any]:
        """Return the JSON object in a small file.

        Raises:
            MalformedRecord: Not a JSON object.
            SourceIncomplete: The model has no such file.
            SizeMismatch: Its length is not what the manifest promises.
            UnsupportedSource: It is larger than any real file of its name.
        """
        return parse_object(self.read(path), path)

    def optional_object(self, path: str) -> dict[str, Any]:
        """Return the JSON object in a small file; an empty one when there is no file."""
        return self.object(path) if self.has(path) else {}

    @contextmanager
    def weights(self) -> Iterator[Mapping[str, Stored]]:
        """Open the weight files for the block and yield every tensor by its name.

        Raises:
            SourceIncomplete: Shards or tensors are missing.
            MalformedWeights: A file is malformed, or a tensor is in two files.
            UnsupportedSource: There are no safetensors weights.
        """
        index = self._index()
        paths = sorted(set(index.values())) if index else self._unindexed()
        missing = [path for path in paths if not self.has(path)]
        if missing:
            raise SourceIncomplete(
                f"{len(missing)} of {len(paths)} weight files are missing: {missing[0]} …",
                hint="pull the model again without --exclude patterns for its weights",
                issues=[f"{path} is missing" for path in missing],
            )
        opened: list[WeightFile] = []
        try:
            for path in paths:
                file = self._file(path)
                opened.append(WeightFile(path, file.location, file.size))
            yield _merge(opened, index)
        finally:
            for weights in opened:
                weights.close()

    def _file(self, path: str) -> SourceFile:
        if path not in self._files:
            raise SourceIncomplete(
                f"the model has no {path}",
                hint="pull the model again without patterns that leave it out",
            )
        return self._files[path]

    def _index(self) -> dict[str, str]:
        """Return tensor → file from the index; empty when there is none."""
        if not self.has(INDEX):
            return {}
        places = self.object(INDEX).get("weight_map")
        if not isinstance(places, dict) or not all(
            isinstance(path, str) and path == os.path.basename(path) for path in places.values()
        ):
            raise MalformedWeights(f"{INDEX} holds no proper weight_map")
        return places

    def _unindexed(self) -> list[str]:
        if self.has(_SINGLE):
            return [_SINGLE]
        totals = {match[2] for path in self._files if (match := _SHARD.fullmatch(path))}
        if len(totals) == 1 and 0 < (total := int(totals.pop())) <= 10_000:
            return [
                f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)
            ]
        foreign = sorted(path for path in self._files if path.endswith(_FOREIGN))
        if foreign:
            raise UnsupportedSource(
                f"the weights are not safetensors but {foreign[0]}",
                hint="pull a revision or a model of the same publisher with safetensors files",
            )
        raise SourceIncomplete(
            f"the model has neither {_SINGLE} nor {INDEX}",
            hint="pull the model again without --exclude patterns for its weights",
        )


def _merge(files: list[WeightFile], index: Mapping[str, str]) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name in tensors:
                raise MalformedWeights(
                    f"tensor '{name:.200}' is in {tensors[name].file.path} and in {file.path}"
                )
            tensors[name] = tensor
    lost = [
        f"tensor '{name:.200}' is not in {path}"
        for name, path in index.items()
        if name not in tensors or tensors[name].file.path != path
    ]
    if lost:
        raise SourceIncomplete(
            f"{INDEX} names {len(lost)} tensors that are not where it says: {lost[0]}",
            hint="pull the model again: index and shards are of different revisions",
            issues=lost[:100],
        )
    return tensors
