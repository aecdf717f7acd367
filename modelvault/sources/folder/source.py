"""A folder as a source: a model that is already on disk.

The user's files stay the user's: they are copied, never linked, and read only. Links are
followed to files inside the folder and, for a snapshot in the Hub client's cache, into
that cache's blobs, whose names then say what their bytes must hash to.

A file that cannot be taken, such as a link out of the folder, is offered with its fault: it is
refused when it is chosen, and hinders nobody who leaves it out.

Invariants:
    * No file outside these folders is read, whatever links say.
    * What arrives is what stood in the file at one time: a file that changes during the
      copy is an error, not a mixture.

Example:
    >>> source = FolderSource(Path("./tiny-llama"), ModelName.parse("acme/tiny"))
    >>> offer = source.offer()
    >>> digests = source.deliver(offer, plan_delivery(offer.files, store), store, Silence())
"""

import contextlib
import dataclasses
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from modelvault import fsio
from modelvault.core.artifact import FolderOrigin, License
from modelvault.core.digest import Digest
from modelvault.core.manifest import MOST_FILES
from modelvault.core.names import ModelName
from modelvault.core.ports import Progress
from modelvault.core.stand_ins import LARGEST_STAND_IN, describe_stand_in, may_stand_in
from modelvault.errors import (
    BadInput,
    BadPath,
    NotFound,
    SourceError,
    StorageError,
    UpstreamChanged,
)
from modelvault.sources.card import CARD_LIMIT, README, clean, read_card
from modelvault.sources.fetch.file import Checksum, GitBlob, OfferedFile
from modelvault.sources.fetch.stored import DeliveryPlan
from modelvault.sources.folder.copying import FolderFile, Version, bring_in, bring_in_small
from modelvault.sources.naming import name_files
from modelvault.sources.source import LARGEST_SMALL, Offer, report_stored
from modelvault.store.batch import SMALL
from modelvault.store.blobs import Store

_SKIPPED = frozenset({".git", ".cache", ".huggingface", "__pycache__", ".DS_Store", "Thumbs.db"})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")


class FolderSource:
    """A model in a folder; its revision is known once its files are in the store."""

    def __init__(self, folder: Path, model: ModelName) -> None:
        """Name what to pull; nothing is read yet.

        Args:
            folder: Where the model is; its files are read, never written or linked.
            model: The name it gets in the vault.
        """
        self._folder = folder
        self._model = model

    def offer(self) -> Offer:
        """Return what the folder holds.

        Raises:
            NotFound: No such folder.
            BadInput: It is a cache of the Hub's client, not a snapshot in one.
            BadPath: There are more files than a manifest may hold.
            StorageError: The file system refuses.
        """
        root = _check_folder(self._folder)
        walked = list(_walk(root))
        naming = name_files([file.path for file in walked])
        files = [_renamed(file, naming.recorded[file.path]) for file in walked]
        readme = next((file for file in files if file.path == README), None)
        license_, card, notes = _read_card(readme)
        return Offer(
            model=self._model,
            revision="",
            files=tuple(sorted(files, key=lambda file: file.path)),
            license=license_,
            card=card,
            origin=FolderOrigin(label=clean(root.name, longest=255) or "folder"),
            notes=(*notes, *naming.notes, *_unfinished_downloads(root)),
        )

    def read_small(self, files: Sequence[OfferedFile]) -> Mapping[str, bytes]:
        """Return path → content of those that can be read now and are as they were offered."""
        contents: dict[str, bytes] = {}
        for file in files:
            if isinstance(file, FolderFile) and file.size <= LARGEST_SMALL:
                with contextlib.suppress(StorageError, UpstreamChanged):
                    contents[file.path] = _read(file.version.path, file.size)
        return contents

    def deliver(
        self, offer: Offer, plan: DeliveryPlan, store: Store, progress: Progress
    ) -> Mapping[str, Digest]:
        """Copy what is missing into the store; return path → digest of each planned file.

        Raises:
            SourceError: The offer is not a folder's.
            UpstreamChanged: A file is no longer the one that was offered.
            DigestMismatch: A cached file's bytes are not what its name says.
            StorageError: The disk is full or refuses.
        """
        report_stored(plan, progress)
        large = any(file.known_size > SMALL for file in plan.missing)
        sizes = {blob.size for blob in store.blobs()} if large else set()
        digests = dict(plan.stored)
        with store.batch() as batch:
            for file in plan.missing:
                if not isinstance(file, FolderFile):
                    raise SourceError(f"{offer.model}: {file.path} is no file of {self._folder}")
                with _open(file.version.path) as reader:
                    if file.size <= SMALL:
                        digest = bring_in_small(file, reader, store, batch, progress)
                    else:
                        compare = file.size in sizes
                        digest = bring_in(file, reader, store, progress, compare=compare)
                        sizes.add(file.size)
                digests[file.path] = digest
        return digests


def _renamed(file: OfferedFile, path: str) -> OfferedFile:
    return file if file.path == path else dataclasses.replace(file, path=path)


def _read_card(
    readme: OfferedFile | None,
) -> tuple[License | None, dict[str, str], tuple[str, ...]]:
    """Return the licence and the card that a README declares, and what to note of it."""
    if not isinstance(readme, FolderFile):
        return None, {}, ()
    return read_card(_read(readme.version.path, CARD_LIMIT))


def _read(real: str, most: int) -> bytes:
    with _open(real) as file, fsio.storage_errors(real):
        return file.read(most)


def _unfinished_downloads(root: Path) -> tuple[str, ...]:
    """Return a note where the Hub's client was interrupted while it made this folder.

    Source: huggingface_hub, "Understand caching" and "Download files to a local folder".
    """
    folders = [root / ".cache" / "huggingface" / "download", *_cache_blobs(root)[:1]]
    count = 0
    for folder in folders:
        with contextlib.suppress(OSError):
            count += sum(1 for _ in folder.glob("**/*.incomplete"))
    if not count:
        return ()
    note = (
        f"{count} unfinished downloads of the Hub's client belong to this folder: files may be"
        " missing from it until 'hf download' has ended"
    )
    return (note,)


def _check_folder(folder: Path) -> Path:
    with fsio.storage_errors(folder):
        if not folder.is_dir():
            raise NotFound(f"{folder}: no such folder")
        root = folder.resolve(strict=True)
    if (root / "snapshots").is_dir() and (root / "blobs").is_dir():
        raise BadInput(
            f"{folder}: a cache of the Hub's client, which may hold several revisions",
            hint=f"name one of them: {folder}/snapshots/COMMIT",
        )
    return root


def _walk(root: Path) -> Iterator[OfferedFile]:
    """Yield every file below ``root``; one that cannot be taken with its fault."""
    pending = [""]
    count = 0
    while pending:
        below = pending.pop()
        folder = root / below
        with fsio.storage_errors(folder), os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.name in _SKIPPED:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
                continue
            count += 1
            if count > MOST_FILES:
                raise BadPath(f"{root}: more than {MOST_FILES} files")
            try:
                yield _find(root, path)
            except BadPath as error:
                fault = ": ".join(filter(None, (error.message, error.hint)))
                yield OfferedFile(path=path, size=None, fault=fault)


def _find(root: Path, relative: str) -> FolderFile:
    """Look at one file, through its links.

    Raises:
        BadPath: It is no file, or a link that leads out of the permitted folders.
    """
    declared = ""
    path = real = f"{root}/{relative}"
    if os.path.islink(path):
        real, declared = _follow(root, Path(path))
    with fsio.storage_errors(path):
        try:
            status = os.lstat(real)
        except FileNotFoundError as error:
            raise UpstreamChanged(f"{path}: vanished") from error
    if not stat.S_ISREG(status.st_mode):
        raise BadPath(f"{path}: neither a file nor a folder")
    return FolderFile(
        path=relative,
        size=status.st_size,
        checksum=_read_checksum(declared),
        version=Version.of(real, status),
        doubt=_doubt(real) if may_stand_in(relative, status.st_size) else "",
    )


def _doubt(real: str) -> str:
    """Return what a small file stands for, if it is not itself."""
    try:
        return describe_stand_in(_read(real, LARGEST_STAND_IN))
    except (StorageError, UpstreamChanged):
        return ""  # whoever copies it will say so


def _follow(root: Path, link: Path) -> tuple[str, str]:
    """Return where a link leads in the end, and the cache blob's name it goes through."""
    try:
        with fsio.storage_errors(link):
            real = link.resolve(strict=True)
            first = Path(os.path.normpath(link.parent / link.readlink()))
    except (FileNotFoundError, RuntimeError) as error:  # RuntimeError: a loop, before 3.13
        raise BadPath(f"{link}: a link that leads nowhere") from error
    blobs = _cache_blobs(root)
    if not any(real.is_relative_to(folder) for folder in (root, *blobs)):
        raise BadPath(
            f"{link}: a link out of the folder, to {real}",
            hint="replace it by the file itself if it belongs to the model",
        )
    return str(real), first.name if blobs and first.parent == blobs[0] else ""


def _cache_blobs(root: Path) -> tuple[Path, ...]:
    """Return where links of a Hub cache's snapshot lead: its own blobs and the shared ones.

    Source: huggingface_hub, "Understand caching"; the shared store since 2.0.
    """
    if root.parent.name != "snapshots" or len(root.parents) < 3:
        return ()
    return (root.parents[1] / "blobs", root.parents[2] / "blobs")


def _read_checksum(name: str) -> Checksum | None:
    """Return the checksum that the name of a cache's blob is; None for any other name."""
    if _SHA256.fullmatch(name):
        return Digest(name)
    return GitBlob(name) if _GIT_SHA1.fullmatch(name) else None


def _open(real: str) -> BinaryIO:
    """Open a file that has been found, and no link or pipe that took its place since."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with fsio.storage_errors(real):
        try:
            descriptor = os.open(real, flags)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
                raise
            raise UpstreamChanged(f"{real}: no longer the file that was offered") from error
    return open(descriptor, "rb", buffering=0)
