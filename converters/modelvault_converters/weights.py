"""The weight files of the model to convert: which they are, and where each tensor stands.

A file is opened once and read in place, never mapped: what was mapped would count as memory of
this process until the kernel takes it back, and a file that shrinks would kill it. Headers are
checked by ``core/safetensors_header`` before anything of them is believed.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from modelvault.core.model_files import (
    MODEL_FILE,
    MODEL_INDEX,
    WeightFormat,
    is_adapter,
    is_training_state,
    parse_shard,
)
from modelvault.core.protocol import SourceFile
from modelvault.core.safetensors_header import TensorEntry, read_header
from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource
from modelvault_converters import pickled
from modelvault_converters.checkpoint import MERGE_ADAPTER, Checkpoint
from modelvault_converters.open_weights import OpenWeights

_INCOMPLETE = (
    "if a pattern of the pull left them out, pull the model again without it; otherwise what was "
    "pulled is not a whole model"
)
_SHOWN = 100


class WeightFile(OpenWeights):
    """An open safetensors file whose header has been checked."""

    mend = "run 'modelvault verify', then pull the model again"

    def _list(self, file: SourceFile) -> tuple[TensorEntry, ...]:
        with open(self._descriptor, "rb", closefd=False) as stream:
            try:
                return read_header(stream, file.size).tensors
            except MalformedWeights as error:
                raise self._malformed(error.message) from error


class FoundTensor(NamedTuple):
    """A tensor's entry, and the file that holds it."""

    entry: TensorEntry
    file: OpenWeights


def open_weights(
    checkpoint: Checkpoint, stack: ExitStack, *, pickles: bool = False
) -> Mapping[str, FoundTensor]:
    """Return every tensor of a model by its name; files stay open until the stack is closed.

    Args:
        checkpoint: The model.
        stack: Holds the files open.
        pickles: Whether weights of PyTorch's own form count where there are no safetensors.

    Raises:
        SourceIncomplete: Shards or tensors are missing.
        SizeMismatch: A file's length is not what the manifest promises.
        MalformedWeights: A file or the index is malformed, or a tensor is in two files.
        UnsupportedSource: There are no weights of a form that is read.
    """
    open_file: Callable[[SourceFile], OpenWeights] = WeightFile
    name, single = MODEL_INDEX, MODEL_FILE
    if pickles and _has_pickles_only(checkpoint):
        open_file, name, single = pickled.PickledFile, pickled.INDEX, pickled.FILE
    index = _read_index(checkpoint, name)
    if checkpoint.has(single) and not all(checkpoint.has(path) for path in index.values()):
        index = {}  # left over from a model in shards: transformers takes the single file, too
    paths = sorted(set(index.values())) if index else _without_index(checkpoint, single)
    missing = [path for path in paths if not checkpoint.has(path)]
    if missing:
        raise SourceIncomplete(
            f"{len(missing)} of {len(paths)} weight files are missing: {missing[0]} …",
            hint=_INCOMPLETE,
            issues=[f"{path} is missing" for path in missing],
        )
    tensors: dict[str, FoundTensor] = {}
    for path in paths:
        file = open_file(checkpoint.file(path))
        stack.callback(file.close)
        for entry in file.tensors:
            if entry.name in tensors:
                other = tensors[entry.name].file.path
                raise MalformedWeights(f"tensor '{entry.name:.200}' is in {other} and in {path}")
            tensors[entry.name] = FoundTensor(entry, file)
    _compare(name, index, tensors)
    return tensors


def _has_pickles_only(checkpoint: Checkpoint) -> bool:
    own = [path for path in checkpoint.weights(WeightFormat.SAFETENSORS) if "/" not in path]
    return not own and (checkpoint.has(pickled.FILE) or checkpoint.has(pickled.INDEX))


def _read_index(checkpoint: Checkpoint, name: str) -> dict[str, str]:
    """Return tensor → file from the index; empty when there is none."""
    if not checkpoint.has(name):
        return {}
    weight_map = checkpoint.object(name).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(path, str) and path == os.path.basename(path) for path in weight_map.values()
    ):
        raise MalformedWeights(f"{name} holds no proper weight_map")
    return weight_map


def _without_index(checkpoint: Checkpoint, single: str) -> list[str]:
    """Return the weight files of a model without an index, by their names alone."""
    if checkpoint.has(single):
        return [single]
    found = checkpoint.weights(WeightFormat.SAFETENSORS)
    sets = {
        shard.count: shard
        for path in found
        if (shard := parse_shard(path)) and (shard.stem, shard.suffix) == ("model", ".safetensors")
    }
    if len(sets) == 1:
        return sets.popitem()[1].names()
    others = [path for path in found if "/" not in path]
    if others:
        raise UnsupportedSource(
            f"the weights are in {others[0]}, not in {MODEL_FILE} as transformers names them",
            hint=MERGE_ADAPTER
            if any(map(is_adapter, others))
            else "pull the model's files for transformers, or a model of the same publisher that "
            "has them",
        )
    foreign = checkpoint.weights(*set(WeightFormat) - {WeightFormat.SAFETENSORS})
    if foreign := [path for path in foreign if not is_training_state(path)]:
        raise UnsupportedSource(
            f"the weights are not safetensors but {foreign[0]}",
            hint="pull a revision or a model of the same publisher with safetensors files",
        )
    raise SourceIncomplete(
        f"the model has neither {MODEL_FILE} nor {MODEL_INDEX}", hint=_INCOMPLETE
    )


def _compare(name: str, index: Mapping[str, str], tensors: Mapping[str, FoundTensor]) -> None:
    lost = [
        f"tensor '{tensor:.200}' is not in {path}"
        for tensor, path in index.items()
        if tensor not in tensors or tensors[tensor].file.path != path
    ]
    if lost:
        raise SourceIncomplete(
            f"{name} names {len(lost)} tensors that are not where it says: {lost[0]}",
            hint="index and shards are of different revisions: save the model again where it was "
            "made, or take another revision",
            issues=lost[:_SHOWN],
        )
