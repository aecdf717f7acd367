"""How a bundle is published on a medium: staged in one folder, exchanged for the former.

A bundle appears under its name by one rename, complete and flushed; leftovers of a crash
have other names, and the next export clears them away.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from modelvault import fsio
from modelvault.bundle.format import names
from modelvault.bundle.format.index import INDEX_LIMIT, Index
from modelvault.bundle.format.layouts.known import is_carrier
from modelvault.bundle.medium.faults import Fault, find_faults
from modelvault.bundle.medium.files import read_capped
from modelvault.core.ports import Signer
from modelvault.errors import BadOption, BundleDamaged, StorageError

_OURS = frozenset({names.INDEX, names.SIGNATURE, names.PUBLISHER, names.MODEL_SIGNATURES})


class Publication:
    """The bundle that stands, or will stand, below one folder of a medium."""

    def __init__(self, folder: Path) -> None:
        """Look at nothing yet.

        Args:
            folder: The medium's folder, which exists.
        """
        self._folder = folder
        self.bundle = folder / names.FOLDER
        self._staging = folder / names.STAGING_FOLDER
        self._former = folder / names.FORMER_FOLDER

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other exports away; the folder itself is locked, nothing is left on it.

        Raises:
            VaultBusy: Another process is writing here.
        """
        with fsio.lock_folder(self._folder, wait=0.0, what="another export is writing here"):
            yield

    def recover(self) -> None:
        """Undo what a killed export left: bring a former bundle back, clear the rest.

        Raises:
            BadOption: Something that ModelVault did not write stands in the way.
        """
        if self._former.exists() and not os.path.lexists(self.bundle):
            self._rename(self._former, self.bundle)
        if self.bundle.is_dir() and not self.bundle.is_symlink():
            self._keep_strangers()
        self._clear(self._former)
        self._clear(self._staging)

    def standing_index(self) -> bytes | None:
        """Return the index of the bundle that stands here, unverified; None for no bundle.

        Raises:
            BadOption: Something else stands here under the bundle's name.
        """
        if not os.path.lexists(self.bundle):
            return None
        hint = "move it away, or choose another folder"
        if self.bundle.is_symlink() or not self.bundle.is_dir():
            raise BadOption(f"{self.bundle}: not a folder", hint=hint)
        try:
            return read_capped(self.bundle / names.INDEX, INDEX_LIMIT)
        except (FileNotFoundError, BundleDamaged) as error:
            raise BadOption(f"{self.bundle}: not a bundle", hint=hint) from error

    def published_by(self, signer: Signer) -> bool:
        """Return whether the standing bundle carries this key and has a signature.

        Keys of others who signed it may stand beside this one.
        """
        try:
            keys = read_capped(self.bundle / names.PUBLISHER, names.PUBLISHER_LIMIT)
            return signer.public_key in keys and bool(read_capped(self.bundle / names.SIGNATURE, 1))
        except (FileNotFoundError, BundleDamaged):
            return False

    def faults(self, index: Index) -> tuple[Fault, ...]:
        """Return what sizes and beginnings show to be wrong with the standing carriers."""
        return find_faults((self.bundle,), index)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty staging folder; when the block fails, it is cleared away again."""
        with fsio.storage_errors(self._staging):
            self._staging.mkdir()
        try:
            yield self._staging
        except BaseException:
            with contextlib.suppress(OSError, BadOption):  # the first error is the one to report
                self._clear(self._staging)
            raise

    def publish(
        self, staged: Path, data: bytes, *, signature: bytes, signer: Signer
    ) -> tuple[str, ...]:
        """Complete the staged folder, signature last, and give it the bundle's name.

        What ModelVault did not write in the folder of a former bundle stands in that of the
        new one afterwards. Once the new bundle has its name nothing fails any more.

        Args:
            staged: What ``staging`` yielded; its carriers are durable.
            data: The index.
            signature: The envelope over it.
            signer: Whose public key goes beside it.

        Returns:
            What the user should know of leftovers, one sentence each.
        """
        fsio.sync_folder(staged)
        fsio.write_durably(staged / names.PUBLISHER, signer.public_key)
        fsio.write_durably(staged / names.INDEX, data)
        fsio.write_durably(staged / names.SIGNATURE, signature)
        if os.path.lexists(self.bundle):
            self._rename(self.bundle, self._former)
        self._rename(staged, self.bundle)
        try:
            kept = self._keep_strangers()
            self._clear(self._former)
        except (StorageError, BadOption, FileNotFoundError) as error:
            return (f"{self._former}: not cleared away yet: {error}",)
        return tuple(f"{path}: not ours, and left alone" for path in kept)

    def _keep_strangers(self) -> list[Path]:
        """Put what others left in the former bundle's folder into that of the new one.

        What has a namesake there stays where it is.

        Returns:
            Where it stands now.
        """
        kept: list[Path] = []
        if self._former.is_symlink() or not self._former.is_dir():
            return kept
        with fsio.storage_errors(self._former):
            for name in _strangers(self._former):
                target = self.bundle / name
                if not os.path.lexists(target):
                    os.rename(self._former / name, target)
                    kept.append(target)
        if kept:
            fsio.sync_folder(self.bundle)
        return kept

    def _rename(self, source: Path, target: Path) -> None:
        with fsio.storage_errors(target):
            os.replace(source, target)
        fsio.sync_folder(self._folder)

    def _clear(self, folder: Path) -> None:
        """Remove one of our folders, if it holds nothing but our files."""
        if not os.path.lexists(folder):
            return
        hint = "move it away, then run this again"
        if folder.is_symlink() or not folder.is_dir():
            raise BadOption(f"{folder}: not a folder", hint=hint)
        with fsio.storage_errors(folder):
            foreign = _strangers(folder)
            if foreign:
                raise BadOption(f"{folder}: holds '{foreign[0]}', not ours", hint=hint)
            found = os.listdir(folder)
            # The index first: what is half removed must not read as a bundle.
            for name in sorted(found, key=lambda name: (name != names.INDEX, name)):
                (folder / name).unlink()
            folder.rmdir()
        fsio.sync_folder(self._folder)


def _strangers(folder: Path) -> list[str]:
    """Return the names of what ModelVault did not write in a folder of its own, sorted."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) or not _is_ours(entry.name)
        )


def _is_ours(name: str) -> bool:
    return (
        name in _OURS
        or is_carrier(name)
        or name.startswith(".")  # our temporary files, and what file managers leave
    )
