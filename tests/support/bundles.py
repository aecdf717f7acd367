"""Small bundles for tests, and hands that change them as an attacker would."""

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelvault.bundle.format import names
from modelvault.bundle.read.bundle import VerifiedBundle, open_bundle
from modelvault.bundle.write.bundle import WriteOptions, WrittenBundle, write_bundle
from modelvault.bundle.write.compression import Compression
from modelvault.core import canonical
from modelvault.core.artifact import Artifact, FolderOrigin
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName
from modelvault.store.blobs import Store
from tests.support.fakes_signing import FakeSigner, FakeVerifier

PUBLISHER = FakeSigner("publisher")
STRANGER = FakeSigner("stranger")
VERIFIER = FakeVerifier([PUBLISHER], [STRANGER])

OPTIONS = WriteOptions(
    serial=1, created="2026-05-01T12:00:00Z", compression=Compression.NONE, volume_size=40_000
)
"""Volumes small enough that a few kilobytes need several."""


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that no codec shrinks, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def add_model(store: Store, name: str, files: Mapping[str, bytes]) -> Artifact:
    """Put a model of these files into a store; return its artefact."""
    entries = [
        FileEntry(path=path, digest=store.put(data), size=len(data)) for path, data in files.items()
    ]
    manifest = Manifest.of(entries)
    artifact = Artifact(
        model=ModelName.parse(name),
        revision=manifest.digest.hex[:40],
        variant=None,
        format="safetensors",
        quantization=None,
        manifest=store.put(manifest.encode()),
        license=None,
        card={},
        origin=FolderOrigin(label="folder"),
    )
    store.put(artifact.encode())
    return artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A publisher's store with one model, a medium and an empty store beyond the gap."""

    store: Store
    medium: Path
    beyond: Store
    artifacts: tuple[Artifact, ...]

    @property
    def bundle(self) -> Path:
        """The bundle's own folder."""
        return self.medium / names.FOLDER

    def export(self, **changes: Any) -> WrittenBundle:
        """Write the bundle, with options changed."""
        options = dataclasses.replace(OPTIONS, **changes)
        return write_bundle(
            self.artifacts, self.store, self.medium, signer=PUBLISHER, options=options
        )

    def verified(self) -> VerifiedBundle:
        """Open and verify what stands on the medium."""
        return open_bundle(self.medium).verify(VERIFIER)

    def index(self) -> dict[str, Any]:
        """Return the standing index as plain JSON values, to be changed."""
        value = canonical.parse((self.bundle / names.INDEX).read_bytes(), limit=2**30)
        assert isinstance(value, dict)
        return value

    def sign(self, data: bytes, *, signer: FakeSigner = PUBLISHER) -> None:
        """Put an index into the bundle, signed: a publisher gone bad, or mistaken."""
        (self.bundle / names.INDEX).write_bytes(data)
        (self.bundle / names.SIGNATURE).write_bytes(signer.sign(names.INDEX, data))


MODEL = {
    "config.json": b'{"model_type":"llama"}',
    "empty.txt": b"",
    "model-00001-of-00002.safetensors": noise(90_000, 1),
    "model-00002-of-00002.safetensors": noise(30_000, 2),
}


def make_site(root: Path, files: Mapping[str, bytes] | None = None) -> Site:
    """Return two sites and a medium below ``root``."""
    store = Store.create(root / "here")
    medium = root / "medium"
    medium.mkdir(parents=True)
    return Site(
        store=store,
        medium=medium,
        beyond=Store.create(root / "beyond"),
        artifacts=(add_model(store, "org/model", MODEL if files is None else files),),
    )


def snapshot(store: Store) -> dict[str, bytes]:
    """Return every file of a store but locks, by path."""
    root = store.paths.root
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def flip(path: Path, offset: int) -> None:
    """Change one byte of a file, keeping its length."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def holds(store: Store, artifact: Artifact) -> bool:
    """Return whether a store holds an artefact whole, every byte hashed again."""
    manifest = Manifest.parse(store.read(artifact.manifest, limit=2**20))
    assert store.read(artifact.digest, limit=2**20) == artifact.encode()
    for entry in manifest.files:
        store.check(entry.digest, entry.size)
    return True


def blob_digests(store: Store) -> set[Digest]:
    """Return the digests of all published blobs."""
    return {blob.digest for blob in store.blobs()}
