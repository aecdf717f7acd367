"""Bringing files into a target's folder, and finding out whether they stand there.

Invariants:
    * A file gets its final name only when its bytes are complete, checked and flushed.
    * The store's files are shared, never opened for writing: a hardlink keeps the vault's
      owner and its read-only mode. Only what is really new here (copies, reflinks, written
      files, folders) gets the target's owner and the usual modes.
    * One install at a time works in a target's folder; whatever unpublished files are
      found under that lock are leftovers of a crash.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress
from modelvault.errors import (
    DigestMismatch,
    SizeMismatch,
    TargetChanged,
    TargetConflict,
    VaultBusy,
)
from modelvault.store.blobs import Store, hash_file
from modelvault.targets.receipt import InstalledFile, Placed
from modelvault.targets.runtime import PlannedFile

STAGED_PREFIX = f"{fsio.TEMPORARY_PREFIX}staged-"
"""Prefix of everything that is not published yet. It is longer than the vault's own, since
a models folder may be one in which somebody keeps a ``.modelvault-old``."""
FILE_MODE = 0o644
FOLDER_MODE = 0o755
_INODE_MASK = 2**63 - 1
_NO_LOCKS = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who new files and folders should belong to."""

    uid: int
    gid: int

    @classmethod
    def of(cls, folder: Path) -> "Owner | None":
        """Return the folder's owner, or None where this process could not give files away."""
        if os.geteuid() != 0:
            return None
        while not folder.exists():
            folder = folder.parent
        found = folder.stat()
        return cls(uid=found.st_uid, gid=found.st_gid)

    def take(self, path: Path) -> None:
        """Make the owner own a new file or folder."""
        with fsio.storage_errors(path):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placer:
    """Puts planned files where they belong."""

    store: Store
    owner: Owner | None
    progress: Progress

    def place(self, file: PlannedFile, target: Path) -> InstalledFile:
        """Make ``target`` hold the file; nothing stands there yet.

        Raises:
            SizeMismatch: The store's blob has another length.
            DigestMismatch: The copied bytes are not what they should be.
            FileExistsError: Something stands at ``target``.
            StorageError: The file system refuses.
        """
        if file.content is not None:
            with fsio.storage_errors(target), open(target, "xb") as writer:
                writer.write(file.content)
                writer.flush()
                os.fsync(writer.fileno())
            placement = Placed.COPY
        else:
            placement = self._place_blob(file, target)
        if placement is not Placed.HARDLINK:
            with fsio.storage_errors(target):
                os.chmod(target, FILE_MODE)
            if self.owner is not None:
                self.owner.take(target)
        return _installed(file, target, placement)

    def _place_blob(self, file: PlannedFile, target: Path) -> Placed:
        source = self.store.path(file.digest)
        if (found := source.stat().st_size) != file.size:
            raise SizeMismatch(
                f"blob {file.digest} has {found} bytes instead of {file.size}",
                hint="run 'modelvault verify', then pull or import the model again",
            )
        placement = Placed(fsio.link_or_copy(source, target, progress=self.progress).value)
        if placement is Placed.COPY:
            computed = self._hash(file, target)
            if computed != file.digest:
                target.unlink()
                raise DigestMismatch(
                    f"{target}: the copy hashes to {computed} instead of {file.digest}",
                    hint="run 'modelvault verify' to see whether the vault's disk is at fault",
                )
        return placement

    def require_space(self, files: Iterable[PlannedFile], folder: Path) -> None:
        """Check that files which have to be copied fit on the disk of ``folder``.

        Raises:
            NoSpace: They do not.
        """
        if folder.stat().st_dev != self.store.paths.blobs.stat().st_dev:
            fsio.require_space(folder, sum(file.size for file in files))

    def find(self, file: PlannedFile, target: Path) -> InstalledFile | None:
        """Return the file as it stands at ``target``, or None if it does not.

        A file that shares the store's inode is known without reading it; every other one
        is hashed.
        """
        if not fsio.is_regular(target):
            return None
        found = target.stat()
        if found.st_size != file.size:
            return None
        if file.content is None and self._is_linked(file.digest, found):
            return _installed(file, target, Placed.HARDLINK)
        if self._hash(file, target) != file.digest:
            return None
        return _installed(file, target, Placed.PRESENT)

    def _is_linked(self, digest: Digest, found: os.stat_result) -> bool:
        source = self.store.paths.blob(digest)
        return source.is_file() and os.path.samestat(source.stat(), found)

    def _hash(self, file: PlannedFile, path: Path) -> Digest:
        self.progress.begin(path.name, total=file.size)
        digest, _ = hash_file(path, progress=self.progress)
        self.progress.end(path.name, note="checked")
        return digest

    def make_folders(self, root: Path, relative: str) -> list[str]:
        """Create a folder below ``root`` and those above it; return the new ones.

        Raises:
            BadPath: A part of the path is a symbolic link or unsafe.
            TargetConflict: A part of the path is a file.
        """
        made = []
        parts = relative.split("/") if relative else []
        for depth in range(len(parts) + 1):
            path = root if depth == 0 else fsio.safe_join(root, "/".join(parts[:depth]))
            if path.exists() and not path.is_dir():
                raise TargetConflict(f"{path}: a file stands where a folder is needed")
            if not path.is_dir():
                fsio.make_folder(path)
                with fsio.storage_errors(path):
                    path.chmod(FOLDER_MODE)
                if self.owner is not None:
                    self.owner.take(path)
                made.append("/".join(parts[:depth]) or ".")
        return made


def is_untouched(file: InstalledFile, path: Path) -> bool | None:
    """Return whether an installed file is as it was; None when it is gone.

    A hardlink is told by inode and size: its bytes are the vault's own. Anything else is
    hashed.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    if file.placement is Placed.HARDLINK and found.st_ino & _INODE_MASK == file.inode:
        return True
    return hash_file(path)[0] == file.digest


@contextlib.contextmanager
def target_errors(folder: Path) -> Iterator[None]:
    """Translate what the operating system says of a target while the block works in it.

    Raises:
        TargetChanged: Something came or went under our hands.
        StorageError: The file system refuses.
    """
    try:
        with fsio.storage_errors(folder):
            yield
    except (FileNotFoundError, FileExistsError) as error:
        raise TargetChanged(
            f"{error.filename or folder}: changed while it was being worked on",
            hint="run this again; stop the runtime first if that does not help",
        ) from error


@contextlib.contextmanager
def locked(folder: Path, *, wait: float = 5.0) -> Iterator[None]:
    """Keep other installs away from an existing folder for the block.

    The lock is on the folder itself: no lock file appears in a runtime's store. Network
    file systems that cannot lock a folder go without.

    Raises:
        VaultBusy: Another process is installing here.
    """
    with fsio.storage_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise VaultBusy(
                        f"{folder}: another install is at work here",
                        hint="wait for it to end, then run this again",
                    ) from error
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise fsio.translate(error, folder) from error
                break
        yield
    finally:
        os.close(descriptor)


def clear_leftovers(folder: Path) -> None:
    """Remove what a crashed install left unpublished directly in ``folder``."""
    with fsio.storage_errors(folder):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith(STAGED_PREFIX):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def unpublished_name(artifact: Digest) -> str:
    """Return the name that an install's files have until they are published."""
    return f"{STAGED_PREFIX}{artifact.short}"


def _installed(file: PlannedFile, path: Path, placement: Placed) -> InstalledFile:
    return InstalledFile(
        path=file.path,
        digest=file.digest,
        size=file.size,
        placement=placement,
        inode=path.stat().st_ino & _INODE_MASK,
    )
