"""Publishers with real keys, who send whatever a test wants of them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelvault.app.import_ import Imported, import_bundle
from modelvault.app.vault import Vault
from modelvault.bundle.format import names
from modelvault.bundle.write.bundle import WriteOptions, write_bundle
from modelvault.bundle.write.compression import Compression
from modelvault.core.artifact import Artifact, FolderOrigin, HubOrigin
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName
from modelvault.core.ports import Silence
from modelvault.store.blobs import Store
from modelvault.trust.envelope import merge_envelopes
from modelvault.trust.keys import LocalKey
from modelvault.trust.keystore import Keystore

COMMIT = "c0ffee" + "0" * 34
FILES = {"config.json": b"{}", "model.safetensors": b"weights of A" * 100}


def recently(**ago: float) -> str:
    """Return a time before now, as bundles spell it."""
    return f"{dt.datetime.now(dt.UTC) - dt.timedelta(**ago):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(kw_only=True)
class Publisher:
    """A key, and a store to write bundles from."""

    root: Path
    key: LocalKey = field(init=False)

    def __post_init__(self) -> None:
        """Make both."""
        self.key, _ = Keystore(self.root / "keys").signing_key(create=True)
        self._store = Store.create(self.root / "store")

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of the key."""
        return self.key.fingerprint

    def make(
        self, files: Mapping[str, bytes], *, variant: str | None = None, name: str = "acme/tiny"
    ) -> Artifact:
        """Return an artefact of these files under the one commit."""
        manifest = Manifest.of(
            FileEntry(path=path, digest=self._store.put(data), size=len(data))
            for path, data in files.items()
        )
        origin = HubOrigin(
            endpoint="https://hub.example",
            commit=COMMIT,
            requested="main",
            gated=False,
            private=False,
        )
        artifact = Artifact(
            model=ModelName.parse(name),
            revision=COMMIT,
            variant=variant,
            format="safetensors",
            quantization=None,
            manifest=self._store.put(manifest.encode()),
            license=None,
            card={},
            origin=origin if variant is None else FolderOrigin(label="made"),
        )
        self._store.put(artifact.encode())
        return artifact

    def send(
        self,
        medium: Path,
        *artifacts: Artifact,
        serial: int,
        created: str = "",
        expires: str | None = None,
        volume_size: int | None = None,
        beside: "Publisher | None" = None,
    ) -> Path:
        """Write a bundle of this serial and time; return the medium.

        Args:
            medium: Made where there is none.
            artifacts: What it carries; without any, one model.
            serial: As the publisher pleases.
            created: RFC 3339; empty for a minute ago.
            expires: RFC 3339; None for never.
            volume_size: Most bytes of a volume; None for what the medium asks for.
            beside: Who signs it, too.
        """
        options = WriteOptions(
            serial=serial,
            created=created or recently(minutes=1),
            expires=expires,
            volume_size=volume_size,
            compression=Compression.NONE,
            replace=True,
        )
        chosen = artifacts or (self.make(FILES),)
        write_bundle(chosen, self._store, medium, signer=self.key, options=options)
        if beside is not None:
            bundle = medium / names.FOLDER
            index = (bundle / names.INDEX).read_bytes()
            merged = merge_envelopes(
                (bundle / names.SIGNATURE).read_bytes(), beside.key.sign(names.INDEX, index)
            )
            (bundle / names.SIGNATURE).write_bytes(merged)
        return medium


def trusting(root: Path, *publishers: Publisher) -> Path:
    """Return a new vault's folder that trusts these publishers."""
    with Vault.open(root, create=True) as vault:
        for number, item in enumerate(publishers):
            vault.keystore.trust(
                item.key.public_key, f"publisher {number}", None, when=dt.datetime.now(dt.UTC)
            )
    return root


def take(root: Path, medium: Path, *, allow_older: str | None = None) -> Imported:
    """Import a bundle."""
    with Vault.open(root) as vault:
        return import_bundle(vault, medium, Silence(), allow_older=allow_older)
