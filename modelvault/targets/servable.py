"""Which files of a safetensors model a server needs: a pure choice.

The index decides which weight files belong together; files it does not list (a second
layout of the same weights, another framework's) are left out, since servers differ in
whether they load them too. A folder that lacks one listed file makes a server look for
it on the network, so completeness is checked here.

Source: https://docs.vllm.ai, https://huggingface.co/docs/safetensors
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelvault.core.artifact import Artifact
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.model_files import (
    MODEL_FILE,
    MODEL_INDEX,
    WeightFormat,
    has_tokenizer,
    is_license,
    weight_format,
)
from modelvault.core.names import check_path
from modelvault.errors import BadPath, UnsuitableArtifact

CONFIG_LIMIT = 4 * 1024 * 1024
"""Largest ``config.json`` that is read, in bytes."""
INDEX_LIMIT = 64 * 1024 * 1024
"""Largest weight index that is read, in bytes."""

_SIDE_FILES = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".bpe", ".md", ".py")
_FOREIGN_FOLDERS = (".git", ".github", ".cache", "onnx", "openvino", "coreml", "original", "assets")

Reader = Callable[[FileEntry, int], bytes]
"""Returns a small file's bytes; the second argument is the largest acceptable length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """A complete model folder's files, and what its config says."""

    files: tuple[FileEntry, ...]
    """Sorted by path."""
    left_out: tuple[str, ...]
    """Paths of weight files that do not belong to the chosen set."""
    context: int | None
    """Longest sequence the config declares, in tokens."""
    quantization: str | None
    """``quantization_config.quant_method``, which servers detect by themselves."""
    remote_code: bool
    """Whether the config asks the server to run Python files of the model."""


def select_servable(artifact: Artifact, manifest: Manifest, read: Reader) -> Servable:
    """Return the files that a safetensors server needs of an artefact.

    Args:
        artifact: What is installed, for messages.
        manifest: Its files.
        read: Reads a small file.

    Raises:
        UnsuitableArtifact: Not safetensors, or files are missing; all of them are listed.
    """
    weights = {entry.path: entry for entry in manifest.files if _is_safetensors(entry.path)}
    if not weights:
        raise _not_safetensors(artifact, manifest)
    issues: list[str] = []
    config = _read_object(manifest, "config.json", CONFIG_LIMIT, read, issues)
    chosen = _choose_weights(manifest, weights, read, issues)
    side = {entry.path: entry for entry in manifest.files if _is_side_file(entry.path)}
    if not has_tokenizer(side):
        issues.append("no tokenizer: tokenizer.json, tokenizer.model or the like is missing")
    if issues:
        raise UnsuitableArtifact(
            f"{artifact.label} is no complete model folder",
            hint=f"pull the whole model: modelvault pull {artifact.model}",
            issues=issues,
        )
    files = {**{path: weights[path] for path in chosen}, **side}
    return Servable(
        files=tuple(files[path] for path in sorted(files)),
        left_out=tuple(path for path in weights if path not in files),
        context=declared_context(config),
        quantization=_quantization(config),
        remote_code="auto_map" in config,
    )


def _choose_weights(
    manifest: Manifest, weights: Mapping[str, FileEntry], read: Reader, issues: list[str]
) -> list[str]:
    if manifest.find(MODEL_INDEX) is None:
        if MODEL_FILE in weights:
            return [MODEL_FILE]
        top = [path for path in weights if "/" not in path]
        if len(top) != 1:
            issues.append(f"{MODEL_INDEX} is missing, and there are {len(top)} weight files")
        return top
    index = _read_object(manifest, MODEL_INDEX, INDEX_LIMIT, read, issues)
    table = index.get("weight_map")
    if not isinstance(table, dict) or not table:
        issues.append(f"{MODEL_INDEX}: no 'weight_map'")
        return []
    listed = []
    for name in sorted({str(name) for name in table.values()}):
        try:
            check_path(name)
        except BadPath as error:
            issues.append(f"{MODEL_INDEX}: {error}")
            continue
        if name not in weights:
            issues.append(f"{name}: listed in {MODEL_INDEX}, and missing")
        listed.append(name)
    return [name for name in listed if name in weights]


def _read_object(
    manifest: Manifest, path: str, limit: int, read: Reader, issues: list[str]
) -> Mapping[str, object]:
    entry = manifest.find(path)
    if entry is None or entry.size > limit:
        issues.append(f"{path}: missing" if entry is None else f"{path}: {entry.size} bytes")
        return {}
    try:
        value = json.loads(read(entry, limit))
    except (ValueError, RecursionError) as error:
        issues.append(f"{path}: not JSON: {error}")
        return {}
    if not isinstance(value, dict):
        issues.append(f"{path}: an object is expected")
        return {}
    return value


def _is_safetensors(path: str) -> bool:
    return path.endswith(".safetensors") and path.split("/", maxsplit=1)[0] not in _FOREIGN_FOLDERS


def _is_side_file(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    if path.split("/", maxsplit=1)[0] in _FOREIGN_FOLDERS:
        return False
    if name.endswith(".index.json"):  # of another format's weights, which stay behind
        return path == MODEL_INDEX
    return name.endswith(_SIDE_FILES) or is_license(name)


def declared_context(config: Mapping[str, object]) -> int | None:
    """Return the longest sequence that a ``config.json`` declares, in tokens."""
    nested = config.get("text_config")
    for holder in (config, nested if isinstance(nested, dict) else {}):
        value = holder.get("max_position_embeddings")
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2**31:
            return value
    return None


def _quantization(config: Mapping[str, object]) -> str | None:
    section = config.get("quantization_config")
    method = section.get("quant_method") if isinstance(section, dict) else None
    return method if isinstance(method, str) and method.isprintable() else None


def _not_safetensors(artifact: Artifact, manifest: Manifest) -> UnsuitableArtifact:
    found = {weight_format(entry.path) for entry in manifest.files}
    if WeightFormat.GGUF in found:
        hint = f"modelvault install {artifact.label} --to ollama, or install the source as pulled"
    elif WeightFormat.PICKLE in found:
        hint = "choose a revision with safetensors: pickled weights can run code when loaded"
    else:
        hint = f"pull the weights too: modelvault pull {artifact.model}"
    return UnsuitableArtifact(
        f"{artifact.label} is {artifact.format}, and this runtime serves safetensors", hint=hint
    )
