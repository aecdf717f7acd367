"""Artefacts in a store, ready to be installed, and trees to compare before and after."""

import json
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from modelvault.core.artifact import Artifact, FolderOrigin
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName
from modelvault.store.blobs import Store
from tests.support.tinygguf import tiny_llama

WHEN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

SAFETENSORS_FILES: Mapping[str, bytes] = {
    "config.json": json.dumps(
        {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096}
    ).encode(),
    "generation_config.json": b"{}",
    "model-00001-of-00002.safetensors": b"first" * 40,
    "model-00002-of-00002.safetensors": b"second" * 40,
    "model.safetensors.index.json": json.dumps(
        {
            "metadata": {"total_size": 440},
            "weight_map": {
                "a": "model-00001-of-00002.safetensors",
                "b": "model-00002-of-00002.safetensors",
            },
        }
    ).encode(),
    "tokenizer.json": b'{"model":{}}',
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "additional_chat_templates/tool.jinja": b"{{ tools }}",
    "LICENSE": b"terms\n",
    "README.md": b"# card\n",
}
"""A small complete folder as the Hub has it."""


def make_artifact(
    store: Store,
    files: Mapping[str, bytes],
    *,
    model: str = "acme/Tiny-1B",
    variant: str | None = None,
    kind: str = "safetensors",
) -> tuple[Artifact, Manifest]:
    """Put files into a store; return the artefact that they are."""
    manifest = Manifest.of(
        FileEntry(path=path, digest=store.put(data), size=len(data)) for path, data in files.items()
    )
    store.put(manifest.encode())
    artifact = Artifact(
        model=ModelName.parse(model),
        revision=manifest.digest.hex[:40],
        variant=variant,
        format=kind,
        quantization=variant,
        manifest=manifest.digest,
        license=None,
        card={},
        origin=FolderOrigin(label="tiny"),
    )
    store.put(artifact.encode())
    return artifact, manifest


def make_gguf(
    store: Store, *, variant: str = "Q4_K_M", seed: bytes = b"\0", licensed: bool = True
) -> tuple[Artifact, Manifest]:
    """Return a GGUF artefact, with a licence beside it unless told otherwise."""
    files = {f"Tiny-1B-{variant}.gguf": tiny_llama(seed=seed)}
    if licensed:
        files["LICENSE"] = b"terms\n"
    return make_artifact(store, files, variant=variant, kind="gguf")


Tree = dict[str, tuple[int, int, int, bytes]]


def tree(root: Path) -> Tree:
    """Return everything below ``root``: path → mode, owner, group, and content or link's text."""
    found: Tree = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder) / name
            state = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(state.st_mode) else b""
            content = os.readlink(path).encode() if path.is_symlink() else content
            relative = path.relative_to(root).as_posix()
            found[relative] = (state.st_mode, state.st_uid, state.st_gid, content)
    return found
