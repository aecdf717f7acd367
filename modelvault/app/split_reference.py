"""``gguf split`` and ``gguf merge`` of what a vault holds: the result is a variant, or files."""

from pathlib import Path

from modelvault.app.conversion.results import record_result
from modelvault.app.conversion.work_folder import working_folder
from modelvault.app.split import merge_files, split_file
from modelvault.app.vault import Vault
from modelvault.core import gguf
from modelvault.core.artifact import Artifact
from modelvault.core.manifest import FileEntry
from modelvault.core.model_files import WeightFormat, parse_shard, shard_names, weight_format
from modelvault.core.names import AnyReference, is_variant
from modelvault.core.ports import Progress
from modelvault.core.protocol import Produced
from modelvault.errors import SourceIncomplete, UnsuitableArtifact
from modelvault.version import __version__

_SPLIT = "-split"
"""What the variant of shards is called, after the type of its weights."""


def split_reference(
    vault: Vault,
    reference: AnyReference,
    *,
    file: str,
    limit: int,
    out: Path | None,
    progress: Progress,
) -> Artifact | list[Path]:
    """Cut a GGUF of the vault into shards; return the new variant, or the files in ``out``.

    Args:
        vault: Where it is.
        reference: What holds it.
        file: The file, where there are several; else empty.
        limit: Largest shard, in bytes.
        out: Folder for the shards; None for a variant with its lineage.
        progress: Told about copied bytes.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        UnsuitableArtifact: It has no single GGUF, or several to choose from.
        BadOption: A file stands in the way, or the limit is too small.
        MalformedWeights: The header is malformed.
        StorageError: The disk is full or refuses.
    """
    parent = vault.catalog.find(reference).artifact
    entry = _choose_file(parent, vault.manifest(parent).files, file)
    path, name = vault.store.path(entry.digest), _name(entry.path)
    if out is not None:
        return split_file(path, out, limit=limit, progress=progress, name=name)
    variant = f"{_type(path, entry.size)}{_SPLIT}"
    with (
        vault.store.writing(),
        working_folder(vault, parent, f"split {entry.path}") as folder,
    ):
        made = split_file(path, folder, limit=limit, progress=progress, name=name)
        produced = Produced(
            target=variant,
            files=tuple(shard.name for shard in made),
            format="gguf",
            quantization=variant.removesuffix(_SPLIT),
            tools={"modelvault": __version__},
            parameters={"split": str(len(made)), "file": entry.path, "max_size": str(limit)},
        )
        return record_result(vault, parent, "split", produced, folder)


def merge_reference(
    vault: Vault, reference: AnyReference, *, file: str, out: Path | None, progress: Progress
) -> Artifact | Path:
    """Put the shards of a model into one file; return the new variant, or the file ``out``.

    Args:
        vault: Where the model is.
        reference: The model.
        file: One shard of the set, where the model has several; else empty.
        out: The new file; None for a variant with its lineage.
        progress: Told about copied bytes.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        UnsuitableArtifact: It has no shards, or several sets to choose from.
        BadOption: A file stands at ``out``.
        SourceIncomplete: Shards are missing.
        MalformedWeights: A header is malformed, or the shards are not one set.
        StorageError: The disk is full or refuses.
    """
    parent = vault.catalog.find(reference).artifact
    entries = {entry.path: entry for entry in vault.manifest(parent).files}
    names = _choose_set(parent, list(entries), file)
    missing = [name for name in names if name not in entries]
    if missing:
        raise SourceIncomplete(
            f"{len(missing)} of {len(names)} shards were not pulled: {missing[0]}",
            hint="pull the model again without patterns that leave them out",
            issues=missing[:100],
        )
    shards = [vault.store.path(entries[name].digest) for name in names]
    if out is not None:
        merge_files(shards, out, progress=progress)
        return out
    variant = _type(shards[0], entries[names[0]].size)
    stem = _name(names[0]).rpartition("-00001-of-")[0]
    with vault.store.writing(), working_folder(vault, parent, f"merge {names[0]}") as folder:
        merge_files(shards, folder / f"{stem}.gguf", progress=progress)
        produced = Produced(
            target=variant,
            files=(f"{stem}.gguf",),
            format="gguf",
            quantization=variant,
            tools={"modelvault": __version__},
            parameters={"merged": str(len(names)), "first": names[0]},
        )
        return record_result(vault, parent, "merge", produced, folder)


def _choose_set(parent: Artifact, paths: list[str], file: str) -> list[str]:
    """Return the paths of the one set of shards that is meant."""
    sets: dict[str, list[str]] = {}
    for path in sorted(paths):
        folder, slash, name = path.rpartition("/")
        members = [f"{folder}{slash}{member}" for member in shard_names(name)]
        if len(members) > 1 and weight_format(name) is WeightFormat.GGUF:
            sets.setdefault(members[0], members)
    chosen = [members for members in sets.values() if not file or file in members]
    if len(chosen) != 1:
        raise UnsuitableArtifact(
            f"{parent.label} has {len(chosen)} sets of GGUF shards, where one is to be merged",
            hint="name a shard of one set with --file" if sets else "it needs no merging",
            issues=list(sets)[:100],
        )
    return chosen[0]


def _choose_file(parent: Artifact, files: tuple[FileEntry, ...], file: str) -> FileEntry:
    """Return the one GGUF that is meant, which is no shard."""
    found = [
        entry
        for entry in files
        if weight_format(entry.path) is WeightFormat.GGUF and parse_shard(entry.path) is None
    ]
    chosen = [entry for entry in found if not file or entry.path == file]
    if len(chosen) != 1:
        raise UnsuitableArtifact(
            f"{parent.label} has {len(chosen)} GGUF files, where one is to be split",
            hint="name one with --file" if found else "only whole GGUF files can be split",
            issues=[entry.path for entry in found[:100]],
        )
    return chosen[0]


def _type(path: Path, size: int) -> str:
    """Return the type of a GGUF's weights, as a variant's name."""
    with open(path, "rb") as file:
        found = gguf.read_header(file, size).file_type
    return found if is_variant(found) and found != "unknown" else "GGUF"


def _name(path: str) -> str:
    return path.rpartition("/")[2]
