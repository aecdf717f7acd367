"""Reading stored pieces out of carriers, in order; nothing here says that they are right."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from modelvault import fsio
from modelvault.bundle.format.index import Carrier, Index, Piece
from modelvault.bundle.medium.files import open_regular
from modelvault.errors import BundleDamaged, MediumVanished, ModelVaultError


class Range(Protocol):
    """A range of a carrier: a piece, or a run of them."""

    @property
    def carrier(self) -> int:
        """Position in ``Index.carriers``."""

    @property
    def offset(self) -> int:
        """Where it begins in the carrier."""

    @property
    def stored(self) -> int:
        """Length in the carrier, in bytes."""


class CarrierReader:
    """Reads pieces out of the carriers of a bundle; use it in a ``with`` block.

    One carrier is open at a time: media are read from front to back.
    """

    def __init__(self, folders: Sequence[Path], index: Index) -> None:
        """Read the carriers of ``index``.

        Args:
            folders: Where they stand: one folder, or those of a set of media.
            index: Names them.
        """
        self._folders = folders
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

    def read(self, range_: Range, buffer: memoryview) -> memoryview:
        """Return the stored bytes of a range, not yet compared with any digest.

        Args:
            range_: What to read.
            buffer: Room for at least ``range_.stored`` bytes; the result is a part of it.

        Raises:
            BundleDamaged: The carrier is shorter than the index says, or no regular file.
            MediumVanished: The carrier is gone.
            StorageError: The operating system refuses.
        """
        carrier = self._index.carriers[range_.carrier]
        view = buffer[: range_.stored]
        if range_.carrier != self._position:
            self._open(range_.carrier, carrier)
        filled = 0
        with fsio.storage_errors(self._folders[0] / carrier.name):
            while filled < range_.stored:
                count = os.preadv(self._descriptor, [view[filled:]], range_.offset + filled)
                if count == 0:
                    raise BundleDamaged(
                        f"{carrier.name}: ends at byte {range_.offset + filled}"
                        f" instead of {carrier.size}"
                    )
                filled += count
        return view

    def answers(self, piece: Piece) -> bool:
        """Return whether the medium still gives a piece that it gave before.

        Read from the device, not from memory: it tells a spot that cannot be read from a
        medium that is gone.
        """
        data = memoryview(bytearray(piece.stored))
        try:
            with CarrierReader(self._folders, self._index) as anew:
                anew._open(piece.carrier, self._index.carriers[piece.carrier])
                fsio.advise(anew._descriptor, piece.offset, piece.stored, os.POSIX_FADV_DONTNEED)
                anew.read(piece, data)
        except ModelVaultError:
            return False
        return hashlib.sha256(data).hexdigest() == piece.digest.hex

    def _open(self, position: int, carrier: Carrier) -> None:
        self._close()
        for folder in self._folders:
            try:
                self._descriptor = open_regular(folder / carrier.name)
                break
            except FileNotFoundError:
                continue
        else:
            raise MediumVanished(
                f"{self._folders[0] / carrier.name}: gone while it was being read",
                hint="insert the medium, run this again",
            )
        self._position = position
        fsio.advise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._position, self._descriptor = -1, -1
