"""The model to convert: its small files as values, its weights as open, checked tensors."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from converters.checkpoint import INDEX, SINGLE, Checkpoint
from converters.gguf.config import parse_object
from converters.gguf.safetensors import Stored, WeightFile
from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource

_CONFIGURATION = "config.json"
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_MERGE = "merge the adapter into its base model first, and convert the result"
_STATE = ("training_args.bin", "optimizer.pt", "scheduler.pt", "optimizer.bin", "scheduler.bin")
"""What training leaves beside weights."""
_FOREIGN = (".bin", ".pth", ".pt", ".gguf", ".h5", ".msgpack", ".onnx")


class Source(Checkpoint):
    """The files of one model, by their path inside it."""

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

    def inside(self, folder: str, suffix: str) -> list[str]:
        """Return the files of a folder, named with a slash at its end, that end with ``suffix``."""
        return sorted(
            path
            for path in self._files
            if path.startswith(folder) and path.endswith(suffix) and path.count("/") == 1
        )

    def configuration(self) -> dict[str, Any]:
        """Return ``config.json``.

        Raises:
            MalformedRecord: Not a JSON object.
            SourceIncomplete: The model has no such file.
            UnsupportedSource: What there is instead is GGUF already, or an adapter.
        """
        if self.has(_CONFIGURATION):
            return self.object(_CONFIGURATION)
        if made := self._with_suffix(".gguf"):
            raise UnsupportedSource(
                f"the model is GGUF already ({made[0]})",
                hint="install it as it is, or pull and convert the model that it was made from",
            )
        if self.has("adapter_config.json"):
            raise UnsupportedSource("the model is an adapter, not a model of its own", hint=_MERGE)
        return self.object(_CONFIGURATION)

    @contextmanager
    def weights(self) -> Iterator[Mapping[str, Stored]]:
        """Open the weight files for the block and yield every tensor by its name.

        Raises:
            SourceIncomplete: Shards or tensors are missing.
            MalformedWeights: A file is malformed, or a tensor is in two files.
            UnsupportedSource: There are no safetensors weights.
        """
        index = self._index()
        if self.has(SINGLE) and not all(self.has(path) for path in index.values()):
            index = {}  # left over from a model in shards: transformers takes the single file, too
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

    def _unindexed(self) -> list[str]:
        if self.has(SINGLE):
            return [SINGLE]
        totals = {match[2] for path in self._files if (match := _SHARD.fullmatch(path))}
        if len(totals) == 1 and 0 < (total := int(totals.pop())) <= 10_000:
            return [
                f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)
            ]
        if others := [path for path in self._with_suffix(".safetensors") if "/" not in path]:
            is_adapter = any(path.startswith("adapter_") for path in others)
            raise UnsupportedSource(
                f"the weights are in {others[0]}, not in {SINGLE} as transformers names them",
                hint=_MERGE
                if is_adapter
                else "pull the model again with its files for transformers",
            )
        if foreign := self._with_suffix(*_FOREIGN):
            raise UnsupportedSource(
                f"the weights are not safetensors but {foreign[0]}",
                hint="pull a revision or a model of the same publisher with safetensors files",
            )
        raise SourceIncomplete(
            f"the model has neither {SINGLE} nor {INDEX}",
            hint="pull the model again without --exclude patterns for its weights",
        )

    def _with_suffix(self, *suffixes: str) -> list[str]:
        """Return the files that end so, those of no folder first."""
        found = (path for path in self._files if path.endswith(suffixes))
        return sorted((path for path in found if path not in _STATE), key=_depth)


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


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
