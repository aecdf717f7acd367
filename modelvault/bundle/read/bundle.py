"""Reading a bundle: trust first, and trust as a type.

``open_bundle`` gives an ``UnverifiedBundle``: bytes, and nothing that could be done with
them but ``verify``. Only that gives a ``VerifiedBundle``, the one type that ``check`` and
``receive`` take. Each step is one of ``docs/formats/bundle.md``, "The order of checks".

Example:
    >>> bundle = open_bundle(Path("/media/stick")).verify(verifier)
    >>> bundle.check_carriers()
"""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.bundle.format import names
from modelvault.bundle.format.codecs import Buffer, decode
from modelvault.bundle.format.index import INDEX_LIMIT, BlobPieces, Index, Piece
from modelvault.bundle.format.parsing import parse_index
from modelvault.bundle.medium.faults import find_faults
from modelvault.bundle.medium.files import medium_errors, read_capped
from modelvault.bundle.read.carriers import CarrierReader
from modelvault.core.digest import Digest
from modelvault.core.ports import Verdict, Verifier
from modelvault.errors import (
    BadOption,
    BadSignature,
    BundleDamaged,
    BundleNotFound,
    MalformedRecord,
    StorageError,
)

_log = logging.getLogger(__name__)

_SEAL = object()
"""Held by this module alone: what it takes to make a ``VerifiedBundle``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedBundle:
    """Bytes from a medium, bounded and otherwise unexamined."""

    folder: Path
    """The bundle's own folder."""
    index_bytes: bytes
    signature: bytes
    publisher: bytes
    """The public key that came along, as PEM; empty when none did. It proves nothing."""
    _others: tuple[Path, ...] = ()
    """Folders of the other media of its set."""

    def verify(self, verifier: Verifier) -> "VerifiedBundle":
        """Return the bundle, once its signature and its index hold.

        Raises:
            BadSignature: The envelope does not vouch for these bytes.
            UnknownSigner: It does, by a key that the policy does not trust.
            UnsupportedVersion: Written by a newer release.
            MalformedRecord: Signed, but not an index that obeys the rules.
        """
        verdict = verifier.verify(names.INDEX, self.index_bytes, self.signature)
        return VerifiedBundle(
            _SEAL,
            folder=self.folder,
            others=self._others,
            index=parse_index(self.index_bytes),
            index_digest=Digest.of(self.index_bytes),
            verdict=verdict,
        )


class VerifiedBundle:
    """A bundle whose index is signed and sound; its carriers are still to be checked."""

    __slots__ = ("folder", "index", "index_digest", "others", "verdict")

    def __init__(
        self,
        seal: object,
        *,
        folder: Path,
        index: Index,
        index_digest: Digest,
        verdict: Verdict,
        others: tuple[Path, ...] = (),
    ) -> None:
        """For ``UnverifiedBundle.verify`` alone.

        Raises:
            TypeError: Another caller tried.
        """
        if seal is not _SEAL:
            raise TypeError("only UnverifiedBundle.verify makes a VerifiedBundle")
        self.folder = folder
        self.others = others
        self.index = index
        self.index_digest = index_digest
        self.verdict = verdict

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where carriers are looked for: the bundle's own folder, then the rest of its set."""
        return (self.folder, *self.others)

    def check_carriers(self) -> None:
        """Compare sizes and beginnings of all carriers with the index; reads little.

        Raises:
            BundleDamaged: ``issues`` names each carrier that is missing, truncated,
                oversized, swapped or altered, and carriers of other bundles.
            StorageError: The medium refuses.
        """
        with medium_errors(self.folder):
            faults = find_faults(self.folders, self.index)
        if faults:
            raise BundleDamaged(
                f"{self.folder}: {len(faults)} of {len(self.index.carriers)} carriers are not"
                " as they were signed",
                hint="copy the files named here again from where the bundle was exported",
                issues=(fault.message for fault in faults),
            )

    def carriers(self) -> CarrierReader:
        """Return a reader of stored bytes; use it in a ``with`` block."""
        return CarrierReader(self.folders, self.index)

    def read_piece(self, piece: Piece) -> bytes:
        """Return the raw bytes of one piece, verified.

        Raises:
            BundleDamaged: The carrier's bytes are not what was signed.
            StorageError: The medium refuses.
        """
        with self.carriers() as carriers:
            stored = carriers.read(piece, memoryview(bytearray(piece.stored)))
            return bytes(self.open_piece(piece, stored))

    def open_piece(self, piece: Piece, stored: memoryview) -> Buffer:
        """Return the raw bytes of a piece whose stored bytes have been read.

        Raises:
            BundleDamaged: The bytes are not what was signed; names the carrier and range.
        """
        where = self.range_of(piece)
        if hashlib.sha256(stored).hexdigest() != piece.digest.hex:
            raise BundleDamaged(f"{where}: altered")
        try:
            return decode(piece.codec, stored, piece.size)
        except BundleDamaged as error:
            raise BundleDamaged(f"{where}: {error.message}") from error

    def range_of(self, piece: Piece) -> str:
        """Return which bytes of which carrier hold a piece, for people."""
        name = self.index.carriers[piece.carrier].name
        return f"{name}: bytes {piece.offset} to {piece.offset + piece.stored}"

    def read_blob(self, blob: BlobPieces) -> bytes:
        """Return a small blob's bytes, verified piece by piece and as a whole.

        Raises:
            BundleDamaged: The bytes are not what was signed.
            StorageError: The medium refuses.
        """
        data = b"".join(self.read_piece(piece) for piece in blob.pieces)
        if Digest.of(data) != blob.digest:
            raise BundleDamaged(f"blob {blob.digest}: the pieces verify, the whole does not")
        return data


def open_bundle(folder: Path) -> UnverifiedBundle:
    """Return the bundle in ``folder``, as bytes.

    Args:
        folder: A medium's folder that holds ``modelvault-bundle``, or that folder itself.

    Raises:
        BundleNotFound: There is none.
        BadSignature: It has no signature, or one too large to be one.
        MalformedRecord: Its index is larger than any index.
        BundleDamaged: One of the files is a link or not a regular file.
        StorageError: The medium refuses.
    """
    with medium_errors(folder):
        return _open(folder)


def open_set(folders: Sequence[Path]) -> tuple[UnverifiedBundle, ...]:
    """Return one bundle as each medium of a set has it: with its own signatures.

    Each of them knows the folders of all, so that the volumes of one are found on the others.

    Args:
        folders: As for ``open_bundle``, at least one.

    Raises:
        BadOption: A folder is named twice, or holds another bundle than the first.
        BundleNotFound: One of them holds none.
        BadSignature: One has no signature, or one too large to be one.
        MalformedRecord: An index is larger than any index.
        BundleDamaged: One of the files is a link or not a regular file.
        StorageError: A medium refuses.
    """
    found = [open_bundle(folder) for folder in folders]
    places = tuple(item.folder for item in found)
    for number, item in enumerate(found):
        with medium_errors(folders[number]):
            if any(os.path.samefile(item.folder, place) for place in places[:number]):
                raise BadOption(f"{folders[number]}: named twice")
        if item.index_bytes != found[0].index_bytes:
            raise BadOption(
                f"{folders[number]}: holds another bundle than {folders[0]}",
                hint="name the media of one set, which have the same index",
            )
    return tuple(
        dataclasses.replace(item, _others=tuple(place for place in places if place != item.folder))
        for item in found
    )


def _open(folder: Path) -> UnverifiedBundle:
    bundle = folder / names.FOLDER
    if bundle.is_symlink():
        raise BundleDamaged(f"'{bundle}' is a symbolic link: refused")
    if not bundle.is_dir():
        bundle = folder
    try:
        index = read_capped(bundle / names.INDEX, INDEX_LIMIT)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(folder) from error
    if len(index) > INDEX_LIMIT:
        raise MalformedRecord(f"{bundle / names.INDEX}: larger than {INDEX_LIMIT} bytes")
    signature = _read_optional(bundle / names.SIGNATURE, names.SIGNATURE_LIMIT)
    if not 0 < len(signature) <= names.SIGNATURE_LIMIT:
        raise BadSignature(
            f"{bundle}: no usable {names.SIGNATURE}",
            hint="do not import it; ask the publisher for the signed bundle",
        )
    return UnverifiedBundle(
        folder=bundle,
        index_bytes=index,
        signature=signature,
        publisher=_read_publisher(bundle / names.PUBLISHER),
    )


def _read_publisher(path: Path) -> bytes:
    """Return the key that came along; nothing where it cannot be read.

    Who trusts the signer does not need it.
    """
    try:
        publisher = _read_optional(path, names.PUBLISHER_LIMIT)
    except StorageError as error:
        _log.warning("the publisher's key cannot be read: %s", error.message)
        return b""
    if len(publisher) > names.PUBLISHER_LIMIT:
        raise BundleDamaged(f"{path}: too large for a public key")
    return publisher


def _read_optional(path: Path, limit: int) -> bytes:
    try:
        return read_capped(path, limit)
    except FileNotFoundError:
        return b""


def _not_found(folder: Path) -> BundleNotFound:
    if (folder / names.STAGING_FOLDER).is_dir():
        return BundleNotFound(
            f"{folder}: holds an unfinished bundle",
            hint="run the export again; the bundle appears when it is complete",
        )
    return BundleNotFound(
        f"{folder}: no bundle here", hint=f"name the folder that holds '{names.FOLDER}'"
    )
