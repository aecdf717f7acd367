"""The small files of the model to convert, read with bounds; every converter's beginning."""

import json
from collections.abc import Iterator
from typing import Any

from modelvault.core.model_files import ADAPTER_CONFIG, MODEL_INDEX, WeightFormat, weight_format
from modelvault.core.protocol import SourceFile
from modelvault.errors import (
    MalformedRecord,
    SizeMismatch,
    SourceIncomplete,
    UnsupportedSource,
)

CONFIGURATION = "config.json"
MERGE_ADAPTER = "merge the adapter into its base model first, and convert the result"

LEFT_OUT = (
    "if a pattern of the pull left it out, pull the model again without it; otherwise its "
    "publisher has none"
)

_MIB = 1024 * 1024
_LIMIT = 16 * _MIB
_LIMITS = {
    "tokenizer.json": 256 * _MIB,
    "tokenizer.model": 64 * _MIB,
    "tekken.json": 64 * _MIB,
    MODEL_INDEX: 64 * _MIB,
}
"""Largest size, in bytes, of the small files that exceed the common limit."""


class Checkpoint:
    """The files of one model, by their path inside it."""

    def __init__(self, files: tuple[SourceFile, ...]) -> None:
        """Take the files of a request.

        Args:
            files: Of one model; their paths differ.
        """
        self._files = {file.path: file for file in files}

    def __iter__(self) -> Iterator[SourceFile]:
        """Go through the files by their path."""
        return iter(sorted(self._files.values(), key=lambda file: file.path))

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
        file = self.file(path)
        limit = _LIMITS.get(path, _LIMIT)
        if file.size > limit:
            raise UnsupportedSource(f"{path} takes {file.size} bytes, more than {limit}")
        with open(file.location, "rb") as stream:
            data = stream.read(file.size + 1)
        if len(data) != file.size:
            raise wrong_size(file)
        return data

    def object(self, path: str) -> dict[str, Any]:
        """Return the JSON object in a small file.

        Raises:
            MalformedRecord: Not JSON, not an object, or nested without end.
            SourceIncomplete: The model has no such file.
            SizeMismatch: Its length is not what the manifest promises.
            UnsupportedSource: It is larger than any real file of its name.
        """
        value = self.value(path)
        if not isinstance(value, dict):
            raise MalformedRecord(f"{path} holds no JSON object")
        return value

    def value(self, path: str) -> Any:
        """Return the JSON value in a small file.

        Raises:
            MalformedRecord: Not JSON, or nested without end.
            SourceIncomplete: The model has no such file.
            SizeMismatch: Its length is not what the manifest promises.
            UnsupportedSource: It is larger than any real file of its name.
        """
        try:
            return json.loads(self.read(path))
        except (ValueError, RecursionError) as error:
            raise MalformedRecord(f"{path} is not JSON: {error}") from error

    def optional_object(self, path: str) -> dict[str, Any]:
        """Return the JSON object in a small file; an empty one when there is no file."""
        return self.object(path) if self.has(path) else {}

    def file(self, path: str) -> SourceFile:
        """Return where a file is.

        Raises:
            SourceIncomplete: The model has no such file.
        """
        if path not in self._files:
            raise SourceIncomplete(
                f"the model has no {path}",
                hint=LEFT_OUT,
            )
        return self._files[path]

    def inside(self, folder: str, suffix: str) -> list[str]:
        """Return the files of a folder, named with a slash at its end, that end with ``suffix``."""
        return sorted(
            path
            for path in self._files
            if path.startswith(folder) and path.endswith(suffix) and path.count("/") == 1
        )

    def weights(self, *formats: WeightFormat) -> list[str]:
        """Return the files of weights in these formats, those of no folder first."""
        found = (path for path in self._files if weight_format(path) in formats)
        return sorted(found, key=_depth)

    def configuration(self) -> dict[str, Any]:
        """Return ``config.json``.

        Raises:
            MalformedRecord: Not a JSON object.
            SourceIncomplete: The model has no such file.
            UnsupportedSource: What there is instead is GGUF already, or an adapter.
        """
        if not self.has(CONFIGURATION):
            if made := self.weights(WeightFormat.GGUF):
                raise UnsupportedSource(
                    f"the model is GGUF already ({made[0]})",
                    hint="install it as it is, or pull and convert the model that it was made from",
                )
            if self.has(ADAPTER_CONFIG):
                raise UnsupportedSource(
                    "the model is an adapter, not a model of its own",
                    hint=MERGE_ADAPTER,
                )
        return self.object(CONFIGURATION)


def wrong_size(file: SourceFile) -> SizeMismatch:
    """Return the error of a file that is not as long as the manifest promises."""
    return SizeMismatch(
        f"{file.path} is not {file.size} bytes long",
        hint="run 'modelvault verify', then pull the model again",
    )


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path
