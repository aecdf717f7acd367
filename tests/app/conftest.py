"""Two sites, a small model, and the check that a vault is sound."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault.app.vault import Vault
from modelvault.core.ports import Silence
from modelvault.fsio import TEMPORARY_PREFIX

FILES = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "LICENSE": b"do as you like\n",
    "README.md": b"---\nlicense: mit\n---\n# tiny\n",
    "model.safetensors": bytes(range(256)) * 300,
    "tokenizer.json": b"{}",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder that looks like a small model."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path, data in FILES.items():
        (folder / path).write_bytes(data)
    return folder


@pytest.fixture
def restore(tmp_path: Path) -> Callable[[Path, Path], None]:
    """Return a function that puts a folder back to what another holds, or to nothing."""

    def copy(source: Path, target: Path) -> None:
        if target.exists():
            shutil.rmtree(target)
        if source.exists():
            shutil.copytree(source, target, symlinks=True)

    return copy


def assert_sound(root: Path) -> list[str]:
    """Assert that a vault holds nothing half-done; return the references it lists.

    Every blob has the bytes its name says, every catalogued artefact is complete, the
    event chain holds. Leftovers may lie about, but only where gc looks for them.
    """
    if not (root / "blobs" / "sha256").is_dir():
        return []
    with Vault.open(root) as vault:
        for blob in vault.store.blobs():
            vault.store.check(blob.digest, blob.size)
        vault.catalog.verify_history()
        items = list(vault.catalog.artifacts())
        for item in items:
            assert vault.store.has(item.digest)
            for entry in vault.manifest(item.artifact).files:
                vault.store.check(entry.digest, entry.size, progress=Silence())
        known = {"blobs", "partial", "quarantine", "keys", "vault.lock"}
        known |= {"catalog.db", "catalog.db.lock", "vault.json", "vault.json.lock"}
        for path in root.iterdir():
            assert path.name.split("-")[0] in known or path.name.startswith(TEMPORARY_PREFIX)
        return sorted(item.artifact.label for item in items)
