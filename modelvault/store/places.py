"""What stands in a vault's folder: the disks that its parts are on, the blobs, and the rest.

File managers and servers put things everywhere (``.DS_Store``, ``@eaDir``, ``.nfs…``). What does
not bear a name that the store gives is nobody's business here: it is passed over.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.errors import BadDigest, VaultNotFound
from modelvault.store.paths import VaultPaths

_SHARD = re.compile(r"[0-9a-f]{2}")
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def check_vault(paths: VaultPaths) -> None:
    """Refuse a folder that is no vault.

    One whose blobs were all lost, or that a copy without empty folders has left without any, is
    still one by its identity.

    Raises:
        VaultNotFound: As said; the message names a link that leads nowhere.
        StorageError: The file system refuses to say.
    """
    if fsio.is_folder(paths.blobs):
        return
    for path in (paths.root, paths.blobs.parent, paths.blobs):
        with fsio.every_error(path):
            leads = os.readlink(path) if path.is_symlink() else ""
        if leads:
            raise VaultNotFound(
                f"{path}: a link to {leads}, which is not there",
                hint="mount the disk that it leads to; or name another vault with --vault",
            )
    if not fsio.is_regular(paths.identity):
        raise VaultNotFound(
            f"{paths.root}: no vault here",
            hint="the first pull or import makes one; or name another with --vault",
        )


def beside_blobs(paths: VaultPaths, usual: Path) -> Path:
    """Return a folder of the vault, or the one that stands for it beside the blobs.

    Where ``blobs/`` is a mount of its own or a link, the vault's other folders are on another
    disk, often too small for models. A folder that was put on a third disk on purpose is used
    where it is.

    Args:
        paths: The vault.
        usual: The folder, where all is on one disk.

    Raises:
        StorageError: The file system refuses.
    """
    root = _device(paths.root)
    blobs = _device(paths.blobs) or root
    found = _device(usual) or root
    return usual if found == blobs or found != root else paths.blobs / f".{usual.name}"


def _device(path: Path) -> int | None:
    try:
        with fsio.storage_errors(path):
            return path.stat().st_dev
    except FileNotFoundError:
        return None


def find_blobs(paths: VaultPaths) -> Iterator[tuple[Digest, Path]]:
    """Yield the digests that files are named by, with the files, sorted by digest.

    Raises:
        StorageError: The file system refuses.
    """
    for folder in shards(paths):
        for name in list_folder(folder):
            with contextlib.suppress(BadDigest):
                digest = Digest(name)
                if name.startswith(folder.name):
                    yield digest, folder / name


def shards(paths: VaultPaths) -> Iterator[Path]:
    """Yield the folders that blobs are in, in order."""
    for name in list_folder(paths.blobs):
        if _SHARD.fullmatch(name) and fsio.is_folder(paths.blobs / name):
            yield paths.blobs / name


def list_folder(folder: Path) -> list[str]:
    """Return the sorted names of what is in a folder; nothing where there is no folder.

    Raises:
        StorageError: The file system refuses.
    """
    try:
        with fsio.storage_errors(folder):
            return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def file_size(path: Path | str) -> int | None:
    """Return a file's length in bytes; None where there is none, or a link leads nowhere.

    Raises:
        StorageError: The file system refuses to say.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise fsio.translate(error, path) from error
    return found.st_size if stat.S_ISREG(found.st_mode) else None
