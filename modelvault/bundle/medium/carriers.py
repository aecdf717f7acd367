"""Reading the files of a bundle's folder: bounded, in order, never through a link.

Whoever prepared the medium may have put anything there: links, pipes, files that grow.
Every file is opened without following links and must be regular; every read has a bound
that was known before.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from modelvault import fsio
from modelvault.bundle.format import layouts
from modelvault.bundle.format.index import HEAD, Carrier, Index, Piece
from modelvault.core.digest import Digest
from modelvault.errors import BundleDamaged, MediumVanished, StorageError

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def medium_errors(folder: Path) -> Iterator[None]:
    """Translate every operating system error of the block; nothing else is changed.

    A file or folder that is gone, or stands there unexpectedly, in the middle of the work
    means that somebody has removed the medium or changed it.

    Args:
        folder: The medium's folder, for messages.
    """
    try:
        with fsio.storage_errors(folder):
            yield
    except FileNotFoundError as error:
        raise MediumVanished(
            f"{error.filename or folder}: gone while it was in use",
            hint="insert the medium again, then run this again",
        ) from error
    except FileExistsError as error:
        raise StorageError(
            f"{error.filename or folder}: appeared while it was in use",
            hint="let nobody else write here, then run this again",
        ) from error


def open_regular(path: Path) -> int:
    """Return a descriptor of a regular file, open for reading.

    Raises:
        FileNotFoundError: Nothing stands there.
        BundleDamaged: A symbolic link, folder, pipe or device stands there.
        StorageError: The operating system refuses.
    """
    with fsio.storage_errors(path):
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise BundleDamaged(f"'{path}' is a symbolic link: refused") from error
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleDamaged(f"'{path}' is not a regular file")
    return descriptor


def read_capped(path: Path, limit: int) -> bytes:
    """Return at most ``limit`` + 1 bytes of a regular file; more than ``limit`` is too many.

    Raises:
        FileNotFoundError: Nothing stands there.
        BundleDamaged: Not a regular file.
        StorageError: The operating system refuses.
    """
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file, fsio.storage_errors(path):
        return file.read(limit + 1)


class CarrierReader:
    """Reads pieces out of the carriers of one folder; use it in a ``with`` block.

    One carrier is open at a time: media are read from front to back.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        """Read the carriers of ``index`` in ``folder``."""
        self._folder = folder
        self._index = index
        self._position = -1
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the carrier that is open."""
        self._close()

    def read(self, piece: Piece, buffer: memoryview) -> memoryview:
        """Return the stored bytes of a piece, not yet compared with its digest.

        Args:
            piece: What to read.
            buffer: Room for at least ``piece.stored`` bytes; the result is a part of it.

        Raises:
            BundleDamaged: The carrier is shorter than the index says, or no regular file.
            MediumVanished: The carrier is gone.
            StorageError: The operating system refuses.
        """
        carrier = self._index.carriers[piece.carrier]
        view = buffer[: piece.stored]
        if piece.carrier != self._position:
            self._open(piece.carrier, carrier)
        filled = 0
        with fsio.storage_errors(self._folder / carrier.name):
            while filled < piece.stored:
                count = os.preadv(self._descriptor, [view[filled:]], piece.offset + filled)
                if count == 0:
                    raise BundleDamaged(
                        f"{carrier.name}: ends at byte {piece.offset + filled}"
                        f" instead of {carrier.size}"
                    )
                filled += count
        return view

    def _open(self, position: int, carrier: Carrier) -> None:
        self._close()
        path = self._folder / carrier.name
        try:
            self._descriptor = open_regular(path)
        except FileNotFoundError as error:
            raise MediumVanished(
                f"{path}: gone while it was being read", hint="insert the medium, run this again"
            ) from error
        self._position = position
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._position, self._descriptor = -1, -1


def find_faults(folder: Path, index: Index) -> tuple[str, ...]:
    """Return what is wrong with the carriers, as far as sizes and beginnings show it.

    Reads at most ``HEAD`` bytes of each. Names carriers that are missing, truncated,
    oversized, swapped or altered, and volumes that the index does not list.

    Raises:
        StorageError: The operating system refuses.
    """
    owners = {carrier.head: carrier.name for carrier in index.carriers}
    faults = [_fault(folder, carrier, owners) for carrier in index.carriers]
    listed = {carrier.name for carrier in index.carriers}
    with fsio.storage_errors(folder):
        found = sorted(os.listdir(folder))
    strangers = [
        f"{name}: not part of this bundle (does it belong to another?)"
        for name in found
        if layouts.VOLUME_NAME.fullmatch(name) and name not in listed
    ]
    return (*(fault for fault in faults if fault), *strangers)


def _fault(folder: Path, carrier: Carrier, owners: Mapping[Digest, str]) -> str:
    """Return what is wrong with one carrier, or nothing."""
    try:
        descriptor = open_regular(folder / carrier.name)
    except FileNotFoundError:
        return f"{carrier.name}: missing"
    except BundleDamaged as error:
        return f"{carrier.name}: {error.message}"
    with os.fdopen(descriptor, "rb") as file, fsio.storage_errors(folder / carrier.name):
        size = os.fstat(descriptor).st_size
        head = Digest(hashlib.sha256(file.read(HEAD)).hexdigest())
    fault = ""
    if head != carrier.head and head in owners:
        fault = f"holds what {owners[head]} should hold: swapped"
    elif size != carrier.size:
        kind = "truncated" if size < carrier.size else "oversized"
        fault = f"{size} bytes instead of {carrier.size}: {kind}"
    elif head != carrier.head:
        fault = "its beginning has been altered, or it is of another bundle"
    return fault and f"{carrier.name}: {fault}"
