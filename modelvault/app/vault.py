"""One vault: the folder, its settings, and the parts that verbs compose.

Opening is cheap: the catalogue and the keys are opened when a verb first asks for them.
"""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelvault.app.config import Config, read_config
from modelvault.core.artifact import Artifact
from modelvault.core.manifest import MANIFEST_LIMIT, Manifest
from modelvault.store.blobs import Store
from modelvault.store.paths import VaultPaths

if TYPE_CHECKING:
    from modelvault.catalog.catalog import Catalog
    from modelvault.trust.keystore import Keystore


def default_root(environment: Mapping[str, str]) -> Path:
    """Return the vault's folder when the command line names none."""
    home = environment.get("MODELVAULT_HOME")
    return Path(home) if home else Path("~/.modelvault").expanduser()


def locate(root: Path | None) -> tuple[VaultPaths, Config]:
    """Return where a vault is or would be, and its settings; nothing is created.

    Args:
        root: The vault's folder; None for ``MODELVAULT_HOME`` or the default.

    Raises:
        BadConfiguration: ``config.toml`` is unusable.
    """
    paths = VaultPaths((root or default_root(os.environ)).absolute())
    return paths, read_config(paths.config, os.environ)


class Vault:
    """An open vault; use it in a ``with`` block."""

    def __init__(self, store: Store, config: Config, *, named: bool) -> None:
        """Compose a vault; ``Vault.open`` finds its parts.

        Args:
            store: Its blobs.
            config: What its configuration file and the environment say.
            named: Whether the user named its folder, so that hints have to name it, too.
        """
        self.store = store
        self.config = config
        self._named = named
        self._anew = False
        self._exit = contextlib.ExitStack()

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, root: str | os.PathLike[str] | None = None, *, create: bool = False
    ) -> Iterator["Vault"]:
        """Yield the vault in ``root``.

        Args:
            root: The vault's folder; None for ``MODELVAULT_HOME`` or the default.
            create: Make the vault where there is none.

        Raises:
            VaultNotFound: There is none and it is not to be made.
            BadConfiguration: ``config.toml`` is unusable.
        """
        folder = (default_root(os.environ) if root is None else Path(root)).absolute()
        store = Store.create(folder) if create else Store.open(folder)
        vault = cls(store, read_config(store.paths.config, os.environ), named=root is not None)
        with vault._exit:
            yield vault

    @cached_property
    def catalog(self) -> "Catalog":
        """The catalogue, opened at first use."""
        from modelvault.catalog.catalog import Catalog

        return self._exit.enter_context(
            Catalog.open(self.store.paths, url=self.config.database_url, anew=self._anew)
        )

    def open_catalog(self) -> "Catalog":
        """Open the catalogue if it is not open yet, so that what is wrong with it is said now."""
        return self.catalog

    def allow_new_catalog(self) -> None:
        """Let a catalogue that is gone be made anew; call it before the first use of it."""
        self._anew = True

    @cached_property
    def keystore(self) -> "Keystore":
        """This site's signing key and the keys it trusts."""
        from modelvault.trust.keystore import Keystore

        return Keystore(self.store.paths.keys)

    def manifest(self, artifact: Artifact) -> Manifest:
        """Return the artefact's manifest, read from the store and checked."""
        return Manifest.parse(self.store.read(artifact.manifest, limit=MANIFEST_LIMIT))

    def keep(self, artifact: Artifact, manifest: Manifest) -> None:
        """Put manifest and record into the store, so that the catalogue can be rebuilt.

        Raises:
            CatalogDamaged: The catalogue is gone, or another vault's: nothing is kept.
            StorageError: The catalogue cannot be reached, or the file system refuses.
        """
        self.open_catalog()
        self.store.put(manifest.encode())
        self.store.put(artifact.encode())

    def command(self, *words: str) -> str:
        """Return a ``modelvault`` command line for hints, quoted, naming this vault."""
        vault = ("--vault", str(self.store.paths.root)) if self._named else ()
        return shlex.join(("modelvault", *words, *vault))
