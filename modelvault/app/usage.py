"""``du``: how much disk a vault takes, by model."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.vault import Vault
from modelvault.catalog.values import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultUsage:
    """How much a vault takes."""

    usage: Usage
    """What its artefacts take."""
    unfinished: int
    """Bytes of unfinished downloads, imports and conversions, as the disk counts them."""
    quarantined: int
    """Bytes that failed a check, as the disk counts them."""


def measure_usage(vault: Vault) -> VaultUsage:
    """Return how much a vault takes; what other processes are at is counted as far as it came."""
    paths = vault.store.paths
    return VaultUsage(
        usage=vault.catalog.usage(),
        unfinished=sum(_blocks(paths.partials)),
        quarantined=sum(_blocks(paths.quarantine)),
    )


def _blocks(folder: Path) -> Iterator[int]:
    """Yield what each file below a folder takes on the disk, in bytes.

    A file that goes while this looks counts nothing, and so does a folder that is not there.

    Raises:
        StorageError: A folder cannot be read.
    """
    with fsio.storage_errors(folder):
        for place, _, names in os.walk(folder, onerror=_refuse):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    yield os.lstat(os.path.join(place, name)).st_blocks * 512


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
