"""The small files of the model to convert, read with bounds; every converter's beginning."""

import os
from abc import ABC, abstractmethod
from typing import Any

from modelvault.core.protocol import SourceFile
from modelvault.errors import (
    MalformedWeights,
    SizeMismatch,
    SourceIncomplete,
    UnsupportedSource,
)

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_MIB = 1024 * 1024
_LIMIT = 16 * _MIB
_LIMITS = {
    "tokenizer.json": 256 * _MIB,
    "tokenizer.model": 64 * _MIB,
    "tekken.json": 64 * _MIB,
    INDEX: 64 * _MIB,
}
"""Largest size, in bytes, of the small files that exceed the common limit."""


class Checkpoint(ABC):
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
        limit = _LIMITS.get(path, _LIMIT)
        if file.size > limit:
            raise UnsupportedSource(f"{path} takes {file.size} bytes, more than {limit}")
        with open(file.location, "rb") as stream:
            data = stream.read(file.size + 1)
        if len(data) != file.size:
            raise wrong_size(file)
        return data

    @abstractmethod
    def object(self, path: str) -> dict[str, Any]:
        """Return the JSON object in a small file."""

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


def wrong_size(file: SourceFile) -> SizeMismatch:
    """Return the error of a file that is not as long as the manifest promises."""
    return SizeMismatch(
        f"{file.path} is not {file.size} bytes long",
        hint="run 'modelvault verify', then pull the model again",
    )
