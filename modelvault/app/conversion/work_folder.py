"""The folder that a converter works in; it outlives an interrupted run which can go on.

A converter that can be resumed leaves ``RESUME`` in its folder. The folder is kept when the
run is interrupted or killed, when the converter crashes, or when disk or memory are full; the
same work then finds it again. Work that is refused, or done, leaves nothing.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.core.protocol import RESUME
from modelvault.errors import (
    ConverterCrashed,
    ConverterMissing,
    Interrupted,
    ModelVaultError,
    NotEnoughMemory,
    StorageError,
)
from modelvault.store.paths import conversion_name

_NOT_REFUSED = (
    ConverterCrashed,
    ConverterMissing,
    NotEnoughMemory,
    StorageError,
    Interrupted,
)
"""Errors that say nothing against the work itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFolder:
    """A converter's folder for one piece of work."""

    path: Path
    resumed: bool
    """Whether it holds what an interrupted run left."""


@contextmanager
def working_folder(vault: Vault, parent: Artifact, purpose: str) -> Iterator[Path]:
    """Yield an empty folder that is removed afterwards; a killed run's is found and cleared.

    Raises:
        VaultBusy: Another process does the same.
        StorageError: The disk is full or refuses.
    """
    key = hashlib.sha256(purpose.encode()).hexdigest()[:16]
    with _locked(vault, parent, key) as folder:
        vault.store.clear([folder] if fsio.stands(folder) else [])
        fsio.make_folder(folder)
        try:
            yield folder
        finally:
            vault.store.clear([folder])


@contextmanager
def resumable_folder(vault: Vault, parent: Artifact, key: str) -> Iterator[WorkFolder]:
    """Yield the folder of a piece of work; what an interrupted run of it left is in there.

    Args:
        vault: The vault.
        parent: What is converted.
        key: Names the work; see ``work_key``.

    Raises:
        VaultBusy: Another process does the same work.
        StorageError: The disk is full or refuses.
        Interrupted: The user stopped it; the hint says whether anything is kept.
    """
    with _locked(vault, parent, key) as folder:
        resumed = _resumable(folder)
        if not resumed:
            vault.store.clear([folder] if fsio.stands(folder) else [])
            fsio.make_folder(folder)
        try:
            yield WorkFolder(path=folder, resumed=resumed)
        except BaseException as error:
            kept = _resumable(folder) and not _is_refusal(error)
            if not kept:
                vault.store.clear([folder])
            if isinstance(error, KeyboardInterrupt):
                raise _interrupted(kept=kept) from error
            raise
        vault.store.clear([folder])


def is_resumable(vault: Vault, parent: Artifact, key: str) -> bool:
    """Return whether an interrupted run of this work left what can be gone on from."""
    return _resumable(vault.store.partials / conversion_name(parent.digest, key))


@contextmanager
def _locked(vault: Vault, parent: Artifact, key: str) -> Iterator[Path]:
    folder = fsio.make_folder(vault.store.partials) / conversion_name(parent.digest, key)
    with fsio.lock(folder.with_name(f"{folder.name}.lock"), transient=True):
        yield folder


def _resumable(folder: Path) -> bool:
    return fsio.is_regular(folder / RESUME)


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, ModelVaultError) and not isinstance(error, _NOT_REFUSED)


def _interrupted(*, kept: bool) -> Interrupted:
    if kept:
        return Interrupted(
            "stopped; what is done is kept",
            hint="run the same command again to go on from here",
        )
    return Interrupted(
        "stopped; the target under way leaves nothing",
        hint="run the same command again: targets that are finished are not made again",
    )
