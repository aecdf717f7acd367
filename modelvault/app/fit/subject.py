"""What ``fit`` looks at: an artefact of the vault, files on disk, or a repository far away."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelvault import fsio
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.app.vault import Vault, locate
from modelvault.core.artifact import License
from modelvault.core.model_files import shard_names
from modelvault.core.names import AnyReference, Reference, parse_reference
from modelvault.errors import ArtifactNotFound, BadOption, NotFound, VaultNotFound
from modelvault.fit.files import CONFIG, ModelFile
from modelvault.sources.fetch.file import RemoteFile, remote_files
from modelvault.sources.selection import select
from modelvault.sources.source import Excerptable, Offer, Unsized

if TYPE_CHECKING:
    from modelvault.sources.fetch.http.excerpts import Excerpts

_log = logging.getLogger(__name__)

MOST_FETCHED = 5_000_000
"""Bytes of a remote model that are fetched at most."""
_WEIGHTS = (".gguf", ".safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model whose files can be read."""

    label: str
    """How people call it."""
    place: str
    """``vault``, ``files`` or ``remote``."""
    files: tuple[ModelFile, ...]
    quantization: str = ""
    """The one of its quantisations that is meant; empty for any."""
    license: License | None = None
    card: Mapping[str, str] = field(default_factory=dict, hash=False)


@contextlib.contextmanager
def open_subject(text: str, root: Path | None, options: SourceOptions) -> Iterator[Subject]:
    """Yield what a user means: a path, an artefact of the vault, else a repository of the Hub.

    Args:
        text: As typed.
        root: The vault's folder; None for the usual one.
        options: How a server is spoken to, where one is asked.

    Raises:
        BadReference: Neither a path nor a reference.
        NotFound: No such file, or no such repository.
        BadOption: The source cannot be read in parts.
        FetchError: The source cannot be reached or refuses.
    """
    path = Path(text).expanduser()
    if path.exists() or text.startswith((".", "/", "~")) or text.lower().endswith(_WEIGHTS):
        yield _on_disk(path)
        return
    reference = parse_reference(text)
    stored = _in_vault(reference, root)
    if stored is not None:
        yield stored
        return
    if not isinstance(reference, Reference):
        raise ArtifactNotFound(
            f"{text}: no artefact of the vault has a digest that begins so",
            hint="'modelvault list' shows what is here; the Hub is asked by ORG/NAME",
        )
    with _far_away(reference, root, options) as subject:
        yield subject


# -- on this machine


def _on_disk(path: Path) -> Subject:
    with fsio.storage_errors(path):
        if path.is_dir():
            found = sorted(item for item in path.rglob("*") if item.is_file())
            root = path
        elif path.is_file():
            root = path.parent
            names = [*shard_names(path.name), CONFIG]
            found = [root / name for name in names if (root / name).is_file()]
        else:
            raise NotFound(f"{path}: no such file or folder")
        files = tuple(_disk_file(item, item.relative_to(root).as_posix()) for item in found)
    return Subject(label=str(path), place="files", files=files)


def _disk_file(path: Path, name: str) -> ModelFile:
    return ModelFile(path=name, size=path.stat().st_size, open=lambda: open(path, "rb"))


def _in_vault(reference: AnyReference, root: Path | None) -> Subject | None:
    """Return the artefact that a reference names; None where the vault has none."""
    try:
        with Vault.open(root) as vault:
            artifact = vault.catalog.find(reference).artifact
            manifest = vault.manifest(artifact)
            paths = {entry.path: vault.store.path(entry.digest) for entry in manifest.files}
    except (VaultNotFound, ArtifactNotFound) as error:
        _log.info("%s is not in the vault: %s", reference, error)
        return None
    return Subject(
        label=artifact.label,
        place="vault",
        files=tuple(_disk_file(path, name) for name, path in paths.items()),
        quantization=artifact.quantization or "",
        license=artifact.license,
        card=artifact.card,
    )


# -- far away


@contextlib.contextmanager
def _far_away(reference: Reference, root: Path | None, options: SourceOptions) -> Iterator[Subject]:
    _, config = locate(root)
    named = Reference(model=reference.model, revision=reference.revision)
    source = choose_source(str(named), options, config)
    offer = source.offer()
    chosen = select(offer.files, include=(), exclude=()).chosen
    if isinstance(source, Unsized):
        chosen = source.settle_sizes(chosen)
    if not isinstance(source, Excerptable):
        raise BadOption(f"{reference}: its source cannot be read in parts", hint="pull it first")
    with source.excerpts(most=MOST_FETCHED) as excerpts:
        yield remote_subject(
            offer,
            remote_files(chosen),
            excerpts,
            label=str(reference),
            quantization=reference.variant or "",
        )
        _log.info("%s: %d bytes were fetched", reference, excerpts.fetched)


def remote_subject(
    offer: Offer,
    files: "list[RemoteFile]",
    excerpts: "Excerpts",
    *,
    label: str,
    quantization: str = "",
) -> Subject:
    """Return the files of an offer as what ``fit`` looks at.

    Args:
        offer: Where they are from.
        files: The chosen ones.
        excerpts: What reads them in parts.
        label: How people call the model.
        quantization: The one that is meant; empty for any.
    """
    return Subject(
        label=label,
        place="remote",
        files=tuple(_remote_file(file, excerpts) for file in files),
        quantization=quantization,
        license=offer.license,
        card=offer.card,
    )


def _remote_file(file: RemoteFile, excerpts: "Excerpts") -> ModelFile:
    return ModelFile(path=file.path, size=file.size, open=lambda: excerpts.open(file))
