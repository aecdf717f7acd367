"""``inspect``: what a weight file holds, read off its header alone.

GGUF and safetensors files, single or in shards, from a path or from the vault. Only headers are
read, within their bounds, so a model of any size takes as little memory as its tensor list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from modelvault import fsio
from modelvault.core import ggml, gguf, safetensors_header
from modelvault.core.gguf_metadata import Scalar
from modelvault.core.model_files import WeightFormat, is_consolidated, shard_names, weight_format
from modelvault.errors import (
    BadOption,
    MalformedWeights,
    SourceIncomplete,
    UnsuitableArtifact,
)

if TYPE_CHECKING:
    from modelvault.app.vault import Vault
    from modelvault.core.names import AnyReference

_READ = (WeightFormat.GGUF, WeightFormat.SAFETENSORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedFile:
    """A file to look into."""

    name: str
    """As the user knows it."""
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a file."""

    name: str
    type: str
    """As its format spells it: ``BF16``, ``Q4_K`` …"""
    shape: tuple[int, ...]
    """Slowest dimension first, whatever the file's order."""
    offset: int
    """Bytes from the start of its file."""
    size: int | None
    """Bytes; None for a type that this release does not know."""
    count: int
    """Number of weights."""
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeTotal:
    """All tensors of one type."""

    type: str
    tensors: int
    parameters: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What a file, or a set of shards, holds."""

    format: str
    """``gguf`` or ``safetensors``."""
    files: tuple[str, ...]
    size: int
    """Bytes of all files."""
    metadata: Mapping[str, Scalar] = field(hash=False)
    """Of the first file; scalars and texts."""
    arrays: Mapping[str, int] = field(hash=False)
    """Metadata that are lists → their length."""
    tensors: tuple[Tensor, ...]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(tensor.count for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """Bits a weight takes on average, over tensors of known size; 0 where there are none."""
        known = [tensor for tensor in self.tensors if tensor.size is not None]
        count = sum(tensor.count for tensor in known)
        return 8 * sum(tensor.size or 0 for tensor in known) / count if count else 0.0

    @property
    def totals(self) -> tuple[TypeTotal, ...]:
        """Tensors by type, the one with the most bytes first."""
        grouped: dict[str, list[Tensor]] = {}
        for tensor in self.tensors:
            grouped.setdefault(tensor.type, []).append(tensor)
        totals = [
            TypeTotal(
                type=type_,
                tensors=len(members),
                parameters=sum(member.count for member in members),
                size=sum(member.size or 0 for member in members),
            )
            for type_, members in grouped.items()
        ]
        return tuple(sorted(totals, key=lambda total: (-total.size, total.type)))


def inspect_path(path: Path) -> Inspected:
    """Return what a file holds; of a shard or a folder, the whole set.

    Raises:
        BadOption: Neither a weight file nor a folder with one model.
        SourceIncomplete: Shards of the set are missing.
        MalformedWeights: A header is malformed, or shards contradict each other.
        StorageError: The file system refuses.
    """
    with fsio.storage_errors(path):
        if path.is_dir():
            siblings = sorted(item for item in path.iterdir() if _is_weights(item.name))
            found = _choose(
                [InspectedFile(name=item.name, path=item) for item in siblings], str(path)
            )
        elif not path.is_file():
            raise BadOption(f"{path}: there is no such file", hint="name a file, folder or model")
        else:
            found = [
                InspectedFile(name=name, path=path.with_name(name))
                for name in shard_names(path.name)
            ]
    missing = [file.name for file in found if not file.path.is_file()]
    if missing:
        raise SourceIncomplete(
            f"{len(missing)} of {len(found)} shards are not beside {path}: {missing[0]}",
            hint="bring all shards of the model into one folder",
            issues=missing[:100],
        )
    return inspect_files(found)


def inspect_reference(vault: "Vault", reference: "AnyReference") -> Inspected:
    """Return what the weight files of an artefact hold.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        UnsuitableArtifact: It has no GGUF or safetensors files.
        MalformedWeights: A header is malformed, or files contradict each other.
        BlobMissing: A file is not in the store.
    """
    artifact = vault.catalog.find(reference).artifact
    files = [
        InspectedFile(name=entry.path, path=vault.store.path(entry.digest))
        for entry in vault.manifest(artifact).files
        if _is_weights(entry.path)
    ]
    if not files:
        raise UnsuitableArtifact(
            f"{artifact.label} has no GGUF or safetensors files",
            hint=f"modelvault show {artifact.label} lists what it has",
        )
    return inspect_files(_choose(files, artifact.label))


def inspect_files(files: Sequence[InspectedFile]) -> Inspected:
    """Return what the files of one model hold together.

    Args:
        files: All of one format, at least one.

    Raises:
        BadOption: A file is neither GGUF nor safetensors.
        MalformedWeights: A header is malformed, or a tensor stands in two files.
        StorageError: The file system refuses.
    """
    parts = [_inspect_file(file) for file in files]
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    owners: dict[str, str] = {}
    for tensor in tensors:
        if tensor.name in owners:
            raise MalformedWeights(
                f"tensor {tensor.name[:200]!r} is in {owners[tensor.name]} and in {tensor.file}",
                hint="these files are not of one model",
            )
        owners[tensor.name] = tensor.file
    return Inspected(
        format=parts[0].format,
        files=tuple(file.name for file in files),
        size=sum(part.size for part in parts),
        metadata=parts[0].metadata,
        arrays=parts[0].arrays,
        tensors=tensors,
    )


def _choose(files: list[InspectedFile], where: str) -> list[InspectedFile]:
    """Return the files of the one model among ``files``.

    Raises:
        BadOption: There is none, or several GGUF models.
    """
    tensors = [file for file in files if _is_safetensors(file)]
    if tensors:
        # As a pull leaves them out: the same weights once more, under their training's names.
        return [file for file in tensors if not is_consolidated(file.name)] or tensors
    models = {tuple(shard_names(file.name)) for file in files}
    if len(models) != 1:
        raise BadOption(
            f"{where}: {len(models)} weight files, where one model is to be looked at",
            hint="name one of them",
            issues=sorted(file.name for file in files)[:100],
        )
    return files


def _inspect_file(file: InspectedFile) -> Inspected:
    with fsio.storage_errors(file.path), open(file.path, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        magic = stream.read(4)
        stream.seek(0)
        try:
            if magic == b"GGUF":
                return _read_gguf(file, stream, size)
            return _read_safetensors(file, stream, size)
        except MalformedWeights as error:
            if magic != b"GGUF" and not _is_safetensors(file):
                raise BadOption(
                    f"{file.name}: neither GGUF nor safetensors",
                    hint="inspect reads these two formats",
                ) from error
            raise MalformedWeights(f"{file.name}: {error.message}", hint=error.hint) from error


def _read_gguf(file: InspectedFile, stream: BinaryIO, size: int) -> Inspected:
    header = gguf.read_header(stream, size)
    return Inspected(
        format="gguf",
        files=(file.name,),
        size=size,
        metadata=header.metadata,
        arrays=header.arrays,
        tensors=tuple(_gguf_tensor(header, info, file.name) for info in header.tensors),
    )


def _gguf_tensor(header: gguf.Header, info: gguf.TensorInfo, file: str) -> Tensor:
    type_ = ggml.find_type(info.type)
    return Tensor(
        name=info.name,
        type=ggml.type_name(info.type),
        shape=info.shape[::-1],
        offset=header.data_start + info.offset,
        size=type_.row_bytes(info.count) if type_ else None,
        count=info.count,
        file=file,
    )


def _read_safetensors(file: InspectedFile, stream: BinaryIO, size: int) -> Inspected:
    header = safetensors_header.read_header(stream, size)
    return Inspected(
        format="safetensors",
        files=(file.name,),
        size=size,
        metadata=header.metadata,
        arrays={},
        tensors=tuple(_safetensors_tensor(entry, file.name) for entry in header.tensors),
    )


def _safetensors_tensor(entry: safetensors_header.TensorEntry, file: str) -> Tensor:
    return Tensor(
        name=entry.name,
        type=entry.dtype,
        shape=entry.shape,
        offset=entry.offset,
        size=entry.size,
        count=entry.count,
        file=file,
    )


def _is_safetensors(file: InspectedFile) -> bool:
    return weight_format(file.name) is WeightFormat.SAFETENSORS


def _is_weights(name: str) -> bool:
    return weight_format(name) in _READ
