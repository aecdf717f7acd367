"""What Ollama's store holds for one model: names, config and manifest, as pure values.

Source: https://github.com/ollama/ollama (``types/model/name.go``, ``manifest/``), v0.33.
"""

import json
import re
from dataclasses import dataclass

from modelvault.core import canonical
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.gguf import Header
from modelvault.errors import BadDigest, BadOption, MalformedRecord
from modelvault.targets.runtime import PlannedFile

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Largest manifest that is read, in bytes; real ones take some 1 KB."""

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

MODEL_TYPE = "application/vnd.ollama.image.model"
PROJECTOR_TYPE = "application/vnd.ollama.image.projector"
LICENSE_TYPE = "application/vnd.ollama.image.license"
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaName:
    """A model's name in Ollama, all four parts given."""

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        """Return the name as ``ollama list`` shows it, without default parts."""
        prefix = ""
        if self.host != DEFAULT_HOST:
            prefix = f"{self.host}/{self.namespace}/"
        elif self.namespace != DEFAULT_NAMESPACE:
            prefix = f"{self.namespace}/"
        return f"{prefix}{self.model}:{self.tag}"

    @property
    def path(self) -> str:
        """Path of the manifest, relative to the models folder."""
        return f"manifests/{self.host}/{self.namespace}/{self.model}/{self.tag}"

    @classmethod
    def parse(cls, text: str) -> "OllamaName":
        """Return the name written as ``[[HOST/]NAMESPACE/]MODEL[:TAG]``.

        Raises:
            BadOption: A part is missing or holds characters that Ollama refuses.
        """
        *parts, last = text.split("/")
        model, colon, tag = last.partition(":")
        host, namespace = DEFAULT_HOST, DEFAULT_NAMESPACE
        if len(parts) == 1:
            (namespace,) = parts
        elif len(parts) == 2:
            host, namespace = parts
        name = cls(host=host, namespace=namespace, model=model, tag=tag if colon else DEFAULT_TAG)
        # ':' would be a port; in a folder's name, other systems refuse it: so do we.
        if len(parts) > 2 or not name.is_valid or ":" in host:
            raise BadOption(
                f"{text!r} is not a name that Ollama accepts",
                hint="write MODEL[:TAG] with letters, digits, '_', '-' and '.', at most 80 each",
            )
        return name

    @classmethod
    def derive(cls, artifact: Artifact) -> "OllamaName":
        """Return the usual name of an artefact, such as ``llama-3.1-8b:q4_k_m``.

        Raises:
            BadOption: The model's name is too long for Ollama.
        """
        tag = artifact.variant or artifact.quantization or DEFAULT_TAG
        return cls.parse(f"{artifact.model.name}:{tag}".lower())

    @property
    def is_valid(self) -> bool:
        """Whether Ollama accepts each part."""
        return bool(
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _PART.fullmatch(self.model)
            and _PART.fullmatch(self.tag)
            and ".." not in f"{self.host}/{self.model}/{self.tag}"
        )


def blob_path(digest: Digest) -> str:
    """Return where a blob stands, relative to the models folder."""
    return f"blobs/sha256-{digest.hex}"


def encode_config(
    header: Header, quantization: str | None, *, projector: Header | None = None
) -> bytes:
    """Return the config blob of a model.

    It depends on the GGUF alone, not on the host: the same model gets the same ID in
    every ``ollama list``.

    Args:
        header: Of the model's GGUF.
        quantization: What the artefact's record calls the mix, used where the header
            does not say.
        projector: Header of the projector that goes with it; None without one.
    """
    families = [item.architecture for item in (header, projector) if item is not None]
    file_type = header.file_type
    if file_type == "unknown" and quantization:
        file_type = quantization
    return canonical.encode(
        {
            "model_format": "gguf",
            "model_family": header.architecture,
            "model_families": [*families],
            "model_type": human_count(header.parameters),
            "file_type": file_type,
            "architecture": "amd64",
            "os": "linux",
        }
    )


def encode_manifest(config: PlannedFile, layers: list[tuple[str, PlannedFile]]) -> bytes:
    """Return the manifest that names a config and its layers.

    Args:
        config: The config blob.
        layers: Media type and file of each layer, in order.
    """
    return canonical.encode(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": _descriptor(_CONFIG_TYPE, config),
            "layers": [_descriptor(kind, file) for kind, file in layers],
        }
    )


def parse_references(data: bytes) -> set[Digest]:
    """Return the blobs that a manifest, ours or another's, refers to.

    Raises:
        MalformedRecord: Not a manifest.
    """
    try:
        value = json.loads(data)
        items = [value["config"], *(value.get("layers") or ())]
        return {Digest.parse(item["digest"].replace("-", ":")) for item in items}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadDigest) as error:
        raise MalformedRecord(f"not an Ollama manifest: {error}") from error


def parse_manifests(data: bytes) -> tuple[set[Digest], set[Digest]]:
    """Return the blobs that a manifest or a list of manifests names.

    Returns:
        What is named outright, and the manifests that are blobs of their own.

    Raises:
        MalformedRecord: Neither.
    """
    try:
        value = json.loads(data)
        if "manifests" not in value:
            return parse_references(data), set()
        inside = [item for item in value["manifests"] if "config" in item]
        outside = [item for item in value["manifests"] if "config" not in item]
        direct = [parse_references(json.dumps(item).encode()) for item in inside]
        named = {Digest.parse(item["digest"].replace("-", ":")) for item in outside}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadDigest) as error:
        raise MalformedRecord(f"not an Ollama manifest: {error}") from error
    return set().union(*direct), named


def human_count(count: int) -> str:
    """Return a number of weights as Ollama writes it: ``7.6B``, ``134.52M``, ``70B``."""
    for unit, letter, decimals in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            places = 0 if count % unit == 0 else decimals
            return f"{count / unit:.{places}f}{letter}"
    return str(count)


def _descriptor(kind: str, file: PlannedFile) -> dict[str, canonical.Json]:
    return {"mediaType": kind, "digest": str(file.digest), "size": file.size}
