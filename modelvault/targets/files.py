"""Bringing files into a target.

Invariants:
    * A file gets its final name only when its bytes are complete, checked and flushed.
    * The store's files are shared, never opened for writing: a hardlink keeps the vault's
      owner and its read-only mode. Only what is really new here (copies, reflinks, written
      files, folders, links) gets the target's owner, and of these only files and folders
      get a mode: one that is set on a link would be that of the file behind it, which may
      be the vault's own.
    * Nothing here follows a link: not to write, to check, to give away or to remove.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.core.ports import Progress, Silence
from modelvault.errors import DigestMismatch, SizeMismatch, TargetConflict
from modelvault.store.blobs import Store
from modelvault.targets.folder import Owner, held, refuse_missing, staged, target_errors
from modelvault.targets.receipt import InstalledFile, Placement
from modelvault.targets.runtime import FileKind, InstallPlan, PlannedFile
from modelvault.targets.standing import compute_digest, inode_of, locate, read_link

FILE_MODE = 0o644
FOLDER_MODE = 0o755


@contextlib.contextmanager
def open_target(plan: InstallPlan, progress: Progress | None) -> Iterator["FileInstaller"]:
    """Yield what brings a plan's files into its location, which no other install enters.

    The location is made where it is missing; gc is kept away from the store.

    Args:
        plan: What will be installed.
        progress: Told about copied and hashed bytes.

    Raises:
        TargetChanged: Another process changes the target at the same time.
        StorageError: The target's disk is full or refuses.
        VaultBusy: Another install into this folder, or gc, is at work.
    """
    installer = FileInstaller(
        store=plan.store,
        root=plan.location,
        owner=Owner.of(plan.location),
        owned=plan.owned,
        progress=progress or Silence(),
    )
    with target_errors(plan.location), plan.store.writing():
        installer.make_folders("")
        with held(plan.location):
            yield installer


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInstaller:
    """Brings planned files into one target; ``open_target`` makes it."""

    store: Store
    """Where the blobs are."""
    root: Path
    """The target's folder, which the files' paths are relative to."""
    owner: Owner | None
    """Who new files and folders are given to; None to leave them to this process."""
    progress: Progress
    """Told about copied and hashed bytes, under the files' names."""
    owned: bool = False
    """Whether the owner wants blobs for itself: reflinks come before hardlinks to others' files."""
    made: list[str] = field(default_factory=list)
    """Folders that ``make_folders`` made, outermost first, for the receipt."""

    def install(self, file: PlannedFile, path: Path) -> InstalledFile:
        """Bring a file to ``path``, where nothing stands yet.

        The bytes are on disk on return; the folder's entry is not: sync the folder.

        Args:
            file: What to bring.
            path: Where: its final path, or the one it has until it is published.

        Raises:
            SizeMismatch: The store's blob has another length.
            DigestMismatch: The copied bytes are not what they should be.
            FileExistsError: Something stands at ``path``.
            StorageError: The file system refuses.
        """
        if file.link is not None:
            with fsio.storage_errors(path):
                os.symlink(file.link, path)
            placement = Placement.LINK
        elif file.kind is FileKind.BYTES:
            _write(file.content or b"", path)
            placement = Placement.COPY
        else:
            placement = self._install_blob(file, path)
        if placement in {Placement.COPY, Placement.REFLINK}:
            _set_mode(path, FILE_MODE)
        if placement is not Placement.HARDLINK and self.owner is not None:
            self.owner.take(path)
        return _installed(file, path, placement)

    def publish(self, file: PlannedFile) -> InstalledFile:
        """Bring a file to its final path in one step, durably, replacing what stood there.

        Args:
            file: What to bring; its folder is there, see ``make_folders``.

        Raises:
            BadPath: A part of the path is a symbolic link, or unsafe.
            Corruption: The store's blob is not what it should be.
            StorageError: The file system refuses.
        """
        path = locate(self.root, file.path, link=file.link is not None)
        installed = self.install(file, staged(path))
        with fsio.storage_errors(path):
            os.replace(staged(path), path)
        fsio.sync_folder(path.parent)
        return installed

    def _install_blob(self, file: PlannedFile, path: Path) -> Placement:
        source = self.store.path(file.digest)
        if (found := source.stat().st_size) != file.size:
            raise SizeMismatch(
                f"blob {file.digest} has {found} bytes instead of {file.size}",
                hint="run 'modelvault verify', then pull or import the model again",
            )
        if self._wants_own(source) and fsio.reflink(source, path):
            return Placement.REFLINK
        placement = Placement(fsio.link_or_copy(source, path, progress=self.progress).value)
        if placement is Placement.COPY:
            computed = compute_digest(path, file.size, self.progress)
            if computed != file.digest:
                path.unlink()
                raise DigestMismatch(
                    f"{path}: the copy hashes to {computed} instead of {file.digest}",
                    hint="run 'modelvault verify' to see whether the vault's disk is at fault",
                )
        return placement

    def _wants_own(self, source: Path) -> bool:
        if not self.owned or self.owner is None:
            return False
        return source.stat().st_uid != self.owner.uid

    def require_space(self, files: Iterable[PlannedFile], folder: Path) -> None:
        """Check that files which have to be copied fit on the disk of ``folder``.

        Raises:
            NoSpace: They do not.
        """
        if folder.stat().st_dev != self.store.paths.blobs.stat().st_dev:
            fsio.require_space(folder, sum(file.size for file in files))

    def find(self, file: PlannedFile) -> InstalledFile | None:
        """Return the file as it stands at its final path, or None if it does not.

        A file that shares the store's inode is known without reading it, a link by its
        text; every other one is hashed.

        Raises:
            BadPath: A part of the path is a symbolic link, or unsafe.
        """
        path = locate(self.root, file.path, link=file.link is not None)
        if file.link is not None:
            stands = read_link(path) == file.link
            return _installed(file, path, Placement.PRESENT) if stands else None
        if not fsio.is_regular(path):
            return None
        found = path.lstat()
        if found.st_size != file.size:
            return None
        if file.kind is FileKind.BLOB and self._is_linked(file.digest, found):
            return _installed(file, path, Placement.HARDLINK)
        if compute_digest(path, file.size, self.progress) != file.digest:
            return None
        return _installed(file, path, Placement.PRESENT)

    def _is_linked(self, digest: Digest, found: os.stat_result) -> bool:
        source = self.store.paths.blob(digest)
        return source.is_file() and os.path.samestat(source.stat(), found)

    def make_folders(self, relative: str) -> None:
        """Create a folder below the root and those above it; new ones go into ``made``.

        Args:
            relative: Path of the innermost folder; empty for the root itself.

        Raises:
            BadPath: A part of the path is a symbolic link or unsafe.
            TargetConflict: A part of the path is a file.
        """
        parts = relative.split("/") if relative else []
        for depth in range(len(parts) + 1):
            below = "/".join(parts[:depth])
            path = fsio.safe_join(self.root, below) if below else self.root
            if path.exists() and not path.is_dir():
                raise TargetConflict(f"{path}: a file stands where a folder is needed")
            if not path.is_dir():
                self.make_folder(path)
                self.made.append(below or ".")

    def make_folder(self, path: Path) -> None:
        """Create one folder with the target's owner and mode; ``made`` does not list it."""
        fsio.make_folder(path)
        _set_mode(path, FOLDER_MODE)
        if self.owner is not None:
            self.owner.take(path)


def check_paths(plan: InstallPlan) -> None:
    """Refuse, while planning, to overwrite what stands at the paths of a plan's files.

    Nothing is hashed: a file that has the right size passes, and so does every file where
    the plan replaces.

    Raises:
        BadOption: The location is not there, nor the folder above it.
        TargetConflict: As said.
        StorageError: The file system refuses.
    """
    refuse_missing(plan.location)
    with target_errors(plan.location):
        refuse_others(plan, [file for file in plan.files if not _looks_right(plan, file)])


def refuse_others(plan: InstallPlan, files: Iterable[PlannedFile]) -> None:
    """Refuse to overwrite what stands at the paths of ``files``.

    Args:
        plan: Says whether regular files, and links where links are planned, may be replaced.
        files: What does not stand there yet, as ``FileInstaller.find`` says.

    Raises:
        TargetConflict: As said.
    """
    for file in files:
        path = locate(plan.location, file.path, link=file.link is not None)
        replaceable = path.is_symlink() if file.link is not None else fsio.is_regular(path)
        if os.path.lexists(path) and not (plan.replace and replaceable):
            raise TargetConflict(
                f"{path}: something else stands here",
                hint="choose another name with --as, or remove what is there",
            )


def _looks_right(plan: InstallPlan, file: PlannedFile) -> bool:
    path = locate(plan.location, file.path, link=file.link is not None)
    if file.link is not None:
        return read_link(path) == file.link
    return fsio.is_regular(path) and path.lstat().st_size == file.size


def _write(content: bytes, path: Path) -> None:
    with fsio.storage_errors(path), open(path, "xb") as writer:
        writer.write(content)
        writer.flush()
        fsio.flush(writer.fileno())


def _set_mode(path: Path, mode: int) -> None:
    """Set the mode of a new file or folder, where the file system has modes; never of a link."""
    with fsio.storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fsio.set_mode(descriptor, mode)
        finally:
            os.close(descriptor)


def _installed(file: PlannedFile, path: Path, placement: Placement) -> InstalledFile:
    if file.link is not None:
        return InstalledFile.of_link(file.path, file.link, placement)
    return InstalledFile(
        path=file.path,
        digest=file.digest,
        size=file.size,
        placement=placement,
        inode=inode_of(path.lstat()),
    )
