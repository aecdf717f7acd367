"""A model's files as what it needs: shape and weights, off headers and configuration alone.

Files are whatever reads like one: blobs of a vault, files of a folder, parts of remote ones.
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from modelvault.core import ggml, gguf, safetensors_header
from modelvault.core.gguf_metadata import read_keys
from modelvault.core.json_bounds import check_bounds
from modelvault.core.model_files import (
    ADAPTER_CONFIG,
    WeightFormat,
    is_adapter,
    is_consolidated,
    is_projector,
    parse_shard,
    quantization_label,
    shard_names,
    weight_format,
)
from modelvault.core.readable import Readable
from modelvault.errors import MalformedRecord, MalformedWeights, ShapeUnknown, UnsuitableArtifact
from modelvault.fit.config_shape import shape_of_config
from modelvault.fit.gguf_shape import GgufKeys, shape_of_gguf
from modelvault.fit.shape import ModelShape
from modelvault.fit.weights import Tensor, WeightTable

CONFIG = "config.json"
CONFIG_LIMIT = 1024 * 1024
"""Bytes of a configuration that are read at most."""
_READERS = 8
"""Headers that are read at once."""
_VALUES = 100_000


class Reader(Readable, Protocol):
    """What a header is read off; a file, or as much of one as reading it takes."""

    def close(self) -> None:
        """Give it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model."""

    path: str
    """Relative to the model's folder."""
    size: int
    """Bytes."""
    open: Callable[[], Reader]
    """Returns it at its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way a model is there: a set of weight files in one format and quantisation."""

    label: str
    """``Q4_K_M``, ``AWQ``, ``BF16``; empty where nothing says."""
    format: str
    """``gguf``, ``safetensors`` or ``pytorch``."""
    files: tuple[ModelFile, ...]
    """Its weight files, in order."""

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadModel:
    """What the headers of a variant say."""

    variant: Variant
    shape: ModelShape
    table: WeightTable
    label: str
    """Its quantisation, as its headers or names say; empty where they do not."""
    notes: tuple[str, ...] = ()
    """What could not be read and was taken otherwise, one sentence each."""


def find_variants(files: Sequence[ModelFile]) -> tuple[Variant, ...]:
    """Return the ways in which a model is there, the smallest first.

    Raises:
        UnsuitableArtifact: There are no weights, or an adapter's alone.
    """
    by_path = {file.path: file for file in files}
    tensors = [file for file in files if weight_format(file.path) is WeightFormat.SAFETENSORS]
    own = [file for file in tensors if not is_adapter(file.path)]
    plain = [file for file in own if not is_consolidated(file.path)] or own
    found = [
        Variant(label=label, format="gguf", files=members)
        for label, members in _ggufs(by_path).items()
    ]
    if plain:
        found.append(Variant(label="", format="safetensors", files=tuple(plain)))
    pickles = [file for file in files if weight_format(file.path) is WeightFormat.PICKLE]
    if not found and pickles and not all(is_adapter(file.path) for file in pickles):
        found.append(Variant(label="", format="pytorch", files=tuple(pickles)))
    if not found:
        adapter = ADAPTER_CONFIG in by_path
        raise UnsuitableArtifact(
            "it is an adapter, and loads on top of a model"
            if adapter
            else "it has no weights that fit can read",
            hint="ask for the model that it belongs to"
            if adapter
            else "fit reads GGUF, safetensors and PyTorch's weights",
        )
    return tuple(sorted(found, key=lambda variant: (variant.size, variant.label)))


def projector_size(files: Sequence[ModelFile]) -> int:
    """Return the bytes of the largest projector among some files; 0 without one."""
    return max((file.size for file in files if is_projector(file.path)), default=0)


def read_variant(variant: Variant, files: Sequence[ModelFile], *, whole: bool = True) -> ReadModel:
    """Return what a variant's headers and configuration say.

    Args:
        variant: Of the model.
        files: All of the model's files, the configuration among them.
        whole: Whether headers are read to their end: a GGUF's holds megabytes of vocabulary.
            Weights are then exact, else what the files come to.

    Raises:
        ShapeUnknown: What memory depends on is missing, or cannot be true.
        MalformedWeights: A header is malformed.
    """
    if variant.format == "gguf":
        return _read_gguf(variant, whole=whole)
    config = read_config(files)
    shape = shape_of_config(config)
    label = _config_label(config)
    if variant.format == "pytorch" or not whole:
        table = WeightTable(tensors=(), size=variant.size, exact=False)
        note = "weights are what the files come to: their headers were not read"
        return ReadModel(variant=variant, shape=shape, table=table, label=label, notes=(note,))
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        parts = list(pool.map(_read_safetensors, variant.files))
    table = WeightTable.of(tensor for part in parts for tensor in part)
    return ReadModel(variant=variant, shape=shape, table=table, label=label or _tensor_label(table))


def read_config(files: Sequence[ModelFile]) -> Mapping[str, Any]:
    """Return a model's configuration.

    Raises:
        ShapeUnknown: There is none, or it is no JSON object.
    """
    file = next((file for file in files if file.path == CONFIG), None)
    if file is None:
        raise ShapeUnknown(
            f"there is no {CONFIG} beside the weights",
            hint="what a model needs is computed from it: pull it along, or ask for a GGUF",
        )
    with contextlib.closing(file.open()) as stream:
        data = stream.read(CONFIG_LIMIT + 1)
    if len(data) > CONFIG_LIMIT:
        raise ShapeUnknown(f"{CONFIG} is longer than {CONFIG_LIMIT} bytes", hint="pull it again")
    try:
        check_bounds(data, values=_VALUES)
        values = json.loads(data)
    except (ValueError, RecursionError, MalformedRecord) as error:
        raise ShapeUnknown(
            f"{CONFIG} cannot be read: {error}", hint="pull it again, or mend it"
        ) from error
    if not isinstance(values, dict):
        raise ShapeUnknown(f"{CONFIG} is no JSON object", hint="pull it again, or mend it")
    return values


def _ggufs(by_path: Mapping[str, ModelFile]) -> dict[str, tuple[ModelFile, ...]]:
    """Return the GGUF models among some files by their label; those without one by their name."""
    found: dict[str, tuple[ModelFile, ...]] = {}
    for path in sorted(by_path):
        shard = parse_shard(path)
        if weight_format(path) is not WeightFormat.GGUF or is_projector(path) or is_adapter(path):
            continue
        if shard is not None and shard.number != 1:
            continue
        names = shard_names(path)
        missing = [name for name in names if name not in by_path]
        if missing:
            raise ShapeUnknown(
                f"{len(missing)} of {len(names)} shards are not there: {missing[0]}",
                hint="pull the model again without patterns that leave them out",
            )
        label = (quantization_label(path) or "").upper()
        key = label if label and label not in found else path
        found[key] = tuple(by_path[name] for name in names)
    return found


def _read_gguf(variant: Variant, *, whole: bool) -> ReadModel:
    first = variant.files[0]
    if not whole:
        with contextlib.closing(first.open()) as stream:
            keys = read_keys(stream, first.size)
        found = GgufKeys(metadata=keys.metadata, lists=keys.lists, arrays=keys.arrays)
        table = WeightTable(tensors=(), size=variant.size, exact=False)
        note = "weights are what the files come to: a GGUF's header holds its vocabulary, too"
        label = _file_type(keys.metadata) or variant.label
        shape = shape_of_gguf(found)
        return ReadModel(variant=variant, shape=shape, table=table, label=label, notes=(note,))
    headers = [_gguf_header(file) for file in variant.files]
    tensors = tuple(_gguf_tensor(info) for header in headers for info in header.tensors)
    head = headers[0]
    shape = shape_of_gguf(
        GgufKeys(
            metadata=head.metadata,
            lists=head.lists,
            arrays=head.arrays,
            tensors={tensor.name: tensor.shape[::-1] for tensor in tensors},
        )
    )
    unknown = sum(1 for header in headers for info in header.tensors if not _is_known(info))
    notes = (f"{unknown} tensors are of a type that is not known, and not counted",)
    return ReadModel(
        variant=variant,
        shape=shape,
        table=WeightTable.of(tensors),
        label=head.file_type if head.file_type != "unknown" else variant.label,
        notes=notes if unknown else (),
    )


def _gguf_header(file: ModelFile) -> gguf.Header:
    with contextlib.closing(file.open()) as stream:
        try:
            return gguf.read_header(stream, file.size)
        except MalformedWeights as error:
            raise MalformedWeights(f"{file.path}: {error.message}", hint=error.hint) from error


def _gguf_tensor(info: gguf.TensorInfo) -> Tensor:
    kind = ggml.find_type(info.type)
    return Tensor(
        name=info.name,
        shape=info.shape[::-1],
        size=kind.row_bytes(info.count) if kind else 0,
        type=ggml.type_name(info.type),
    )


def _is_known(info: gguf.TensorInfo) -> bool:
    return ggml.find_type(info.type) is not None


def _read_safetensors(file: ModelFile) -> list[Tensor]:
    with contextlib.closing(file.open()) as stream:
        try:
            header = safetensors_header.read_header(stream, file.size)
        except MalformedWeights as error:
            raise MalformedWeights(f"{file.path}: {error.message}", hint=error.hint) from error
    return [
        Tensor(name=entry.name, shape=entry.shape, size=entry.size, type=entry.dtype)
        for entry in header.tensors
    ]


def _file_type(metadata: Mapping[str, object]) -> str:
    value = metadata.get("general.file_type")
    return ggml.FILE_TYPES.get(value, "") if isinstance(value, int) else ""


def _config_label(config: Mapping[str, Any]) -> str:
    """Return how a configuration says that the weights are quantised; empty where they are not."""
    found = config.get("quantization_config")
    if not isinstance(found, dict):
        return ""
    method = found.get("quant_method")
    if not isinstance(method, str):
        return ""
    kind = found.get("format")
    if method == "compressed-tensors" and isinstance(kind, str):
        return {"pack-quantized": "W4A16", "int-quantized": "INT8", "float-quantized": "FP8"}.get(
            kind, kind.upper()
        )
    return re.sub(r"[^A-Z0-9]", "", method.upper())[:16]


def _tensor_label(table: WeightTable) -> str:
    """Return the type that most bytes are of."""
    sizes: dict[str, int] = {}
    for tensor in table.tensors:
        sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size
    return max(sizes, key=lambda kind: sizes[kind], default="")
