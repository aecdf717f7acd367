"""The model that a configuration is for: where a receipt or the user says that it stands."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelvault.app.receipts import read_receipt
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.core.gguf import read_header
from modelvault.core.manifest import Manifest
from modelvault.core.model_files import WeightFormat, is_projector, weight_format
from modelvault.errors import BadOption, CatalogDamaged, InstallNotFound, UnsuitableArtifact
from modelvault.serving.choices import Server
from modelvault.serving.model import ServedModel
from modelvault.targets.ollama_model import OllamaName
from modelvault.targets.receipt import Receipt
from modelvault.targets.servable import CONFIG_LIMIT, declared_context

LONGEST_NAME = 200

_TARGETS: Mapping[Server, tuple[str, ...]] = {
    Server.VLLM: ("vllm",),
    Server.SGLANG: ("sglang", "vllm"),  # it serves the same folders
    Server.LLAMACPP: ("llamacpp",),
    Server.OLLAMA: ("ollama",),
}
"""The runtimes whose installs a server reads, as ``install --to`` spells them."""
_FORMATS: Mapping[Server, str] = {
    Server.VLLM: "safetensors",
    Server.SGLANG: "safetensors",
    Server.LLAMACPP: "gguf",
    Server.OLLAMA: "gguf",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a model stands; see ``ServedModel``."""

    path: PurePosixPath
    root: PurePosixPath
    inside: PurePosixPath
    projector: PurePosixPath | None = None


def find_model(
    vault: Vault, artifact: Artifact, server: Server, name: str | None, notes: list[str]
) -> ServedModel:
    """Return a model as the receipt of its install says.

    Args:
        vault: Made the install.
        artifact: The model.
        server: What serves it.
        name: What clients are to call it; None for what the install calls it.
        notes: Gets a sentence where the files are not there any more.

    Raises:
        InstallNotFound: It is not installed for this server.
        UnsuitableArtifact: The server does not read its format.
        BadOption: It is installed several times, or cannot be called so.
        UnsupportedVersion: A newer release installed it.
        CatalogDamaged: The receipt was altered.
    """
    _refuse_unsuitable(artifact, server)
    receipt = _find_receipt(vault, artifact, server)
    place = _place(server, receipt)
    if not os.path.lexists(place.path):
        notes.append(f"{place.path} is not there: 'modelvault status' says what is missing")
    if server is Server.OLLAMA and name is not None:
        raise BadOption(
            f"Ollama calls the model {receipt.name}, and --name cannot change that",
            hint="install it under another name: modelvault install --as",
        )
    return _served(vault, artifact, _parse_name(server, name) or receipt.name, place)


def place_model(
    vault: Vault, artifact: Artifact, server: Server, path: str, name: str | None
) -> ServedModel:
    """Return a model that stands where the user says, on this host or another.

    Args:
        vault: Holds the artefact.
        artifact: The model.
        server: What serves it.
        path: Absolute; a folder, llama.cpp's file, or Ollama's store.
        name: What clients are to call it; None for the usual name.

    Raises:
        UnsuitableArtifact: The server does not read its format.
        BadOption: The path or the name cannot be used.
    """
    _refuse_unsuitable(artifact, server)
    place = _parse_path(server, path)
    return _served(
        vault, artifact, _parse_name(server, name) or _usual_name(artifact, server), place
    )


def name_model(vault: Vault, artifact: Artifact, server: Server) -> ServedModel:
    """Return a model by its name alone, for what stands before the server.

    Raises:
        UnsuitableArtifact: The server does not read its format.
        BadOption: Ollama cannot call it by its name.
    """
    _refuse_unsuitable(artifact, server)
    nowhere = PurePosixPath("/")
    place = _Place(path=nowhere, root=nowhere, inside=PurePosixPath())
    return _served(vault, artifact, _usual_name(artifact, server), place)


def _served(vault: Vault, artifact: Artifact, name: str, place: _Place) -> ServedModel:
    manifest = vault.manifest(artifact)
    return ServedModel(
        reference=str(artifact.reference),
        artifact=str(artifact.digest),
        name=name,
        path=place.path,
        root=place.root,
        inside=place.inside,
        projector=place.projector,
        weights=sum(file.size for file in manifest.files if weight_format(file.path)),
        context=_declared_context(vault, artifact, manifest),
    )


def _refuse_unsuitable(artifact: Artifact, server: Server) -> None:
    wanted = _FORMATS[server]
    if artifact.format == wanted:
        return
    others = " or ".join(item for item, format_ in _FORMATS.items() if format_ == artifact.format)
    ways = [f"serve it with --for {others}"] if others else []
    if wanted == "gguf" and artifact.format == "safetensors":
        ways.insert(0, f"modelvault convert {artifact.label} --to gguf:Q4_K_M")
    raise UnsuitableArtifact(
        f"{artifact.label} is {artifact.format}, and {server.full_name} serves {wanted}",
        hint="; or ".join(ways),
    )


def _find_receipt(vault: Vault, artifact: Artifact, server: Server) -> Receipt:
    targets = _TARGETS[server]
    found = [
        recorded
        for recorded in vault.catalog.installs()
        if recorded.install.artifact == artifact.digest and recorded.install.target in targets
    ]
    if not found:
        folder = () if server is Server.OLLAMA else ("--dir", "DIR")
        install = vault.command("install", artifact.label, "--to", targets[-1], *folder)
        raise InstallNotFound(
            f"{artifact.label} is not installed for {server.full_name}",
            hint=f"install it first: {install}; or say where it stands with --path",
        )
    receipts = [read_receipt(recorded) for recorded in found]
    if len(receipts) > 1:
        raise BadOption(
            f"{artifact.label} is installed {len(receipts)} times for {server.full_name}",
            hint="say which one with --path",
            issues=[str(_place(server, receipt).path) for receipt in receipts],
        )
    return receipts[0]


def _place(server: Server, receipt: Receipt) -> _Place:
    location = PurePosixPath(receipt.location)
    if server is Server.OLLAMA:
        return _Place(path=location, root=location, inside=PurePosixPath())
    if server is not Server.LLAMACPP:
        folder = location / receipt.name
        return _Place(path=folder, root=folder, inside=PurePosixPath(receipt.name))
    paths = sorted(
        file.path for file in receipt.files if weight_format(file.path) is WeightFormat.GGUF
    )
    weights = [path for path in paths if not is_projector(path)]
    if not weights:
        raise CatalogDamaged(f"the receipt of {receipt.name!r} lists no GGUF")
    projector = next(filter(is_projector, paths), None)
    inside = PurePosixPath(os.path.commonpath(paths) if len(paths) > 1 else weights[0])
    return _Place(
        path=location / weights[0],
        root=location / inside,
        inside=inside,
        projector=None if projector is None else location / projector,
    )


def _usual_name(artifact: Artifact, server: Server) -> str:
    if server is Server.OLLAMA:
        return str(OllamaName.derive(artifact))
    return f"{artifact.model}-{artifact.variant}" if artifact.variant else str(artifact.model)


def _parse_name(server: Server, asked: str | None) -> str | None:
    if asked is None:
        return None
    if server is Server.OLLAMA:
        return str(OllamaName.parse(asked))
    if not asked or len(asked) > LONGEST_NAME or asked.startswith("-"):
        raise BadOption(f"--name {asked!r} cannot name a model", hint="write ORG/NAME or NAME")
    return asked


def _parse_path(server: Server, text: str) -> _Place:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise BadOption(
            f"--path {text!r} is no absolute path of a model", hint="write it from / on"
        )
    single = weight_format(path.name) is WeightFormat.GGUF
    if single is not (server is Server.LLAMACPP):
        kind = "a GGUF file" if server is Server.LLAMACPP else "a folder"
        raise BadOption(f"--path {text!r}: {server.full_name} is given {kind}")
    inside = PurePosixPath() if server is Server.OLLAMA else PurePosixPath(path.name)
    return _Place(path=path, root=path, inside=inside)


def _declared_context(vault: Vault, artifact: Artifact, manifest: Manifest) -> int | None:
    if artifact.format == "gguf":
        return _context_of_gguf(vault, manifest)
    config = manifest.find("config.json")
    if config is None or config.size > CONFIG_LIMIT:
        return None
    try:
        value = json.loads(vault.store.read(config.digest, limit=CONFIG_LIMIT))
    except (ValueError, RecursionError):
        return None  # the server will say so; what is written here does not depend on it
    return declared_context(value) if isinstance(value, dict) else None


def _context_of_gguf(vault: Vault, manifest: Manifest) -> int | None:
    for entry in manifest.files:
        if weight_format(entry.path) is WeightFormat.GGUF and not is_projector(entry.path):
            with vault.store.open_blob(entry.digest) as file:
                header = read_header(file, entry.size)
            value = header.metadata.get(f"{header.architecture}.context_length")
            return value if isinstance(value, int) and value > 0 else None
    return None
