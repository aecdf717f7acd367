"""Receipts: what an install did, so that it can be undone, and shown to an auditor.

A receipt lists every file of the installed model, whether this run brought it or found it
there, byte for byte the same: installing twice gives the same list as installing once.

``docs/formats/receipt.md`` has the format. It is written in the lowest version that can say
it, so that an older release can undo what it understands; ``v2`` added links. A receipt with
anything that this release does not know is never obeyed in part: it is told apart from
damage, and left to the release that wrote it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.core.names import check_path
from modelvault.errors import BadDigest, BadPath, MalformedRecord, UnsupportedVersion
from modelvault.targets.links import LONGEST_LINK, resolve_link

RECEIPT_TYPE = "modelvault/receipt/v"
NEWEST_VERSION = 2
RECEIPT_LIMIT = 64 * 1024 * 1024
"""Largest receipt that is read, in bytes."""
MOST_VALUES = 4_000_000
"""Most values of JSON in a receipt; one of the most files has about 2,000,000."""
MOST_FILES = 200_000
MOST_NOTES = 64

_VERSION = re.compile(re.escape(RECEIPT_TYPE) + r"([1-9][0-9]{0,3})")
_UPDATE = "update modelvault: the release that wrote the receipt can uninstall it"


class Placement(StrEnum):
    """How an installed file got to its place."""

    HARDLINK = "hardlink"
    """It is the vault's own file under a second name."""
    REFLINK = "reflink"
    """It shares the vault's disk blocks, copy on write."""
    COPY = "copy"
    """It is a copy, or was written from memory."""
    LINK = "link"
    """It is a symbolic link to another file of the install; since ``v2``."""
    PRESENT = "present"
    """It stood there already with these very bytes, or this very text of a link."""


_PLACEMENTS = {
    "file": frozenset(Placement) - {Placement.LINK},
    "link": frozenset({Placement.LINK, Placement.PRESENT}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledFile:
    """One file of an installed model."""

    path: str
    """Relative to the receipt's location."""
    digest: Digest
    """Of the bytes; of a link, that of its text."""
    size: int
    """Length in bytes; of a link, that of its text."""
    placement: Placement
    inode: int
    """Inode number, its lowest 63 bits; tells an untouched hardlink without hashing it.
    0 for a link."""
    link: str | None = None
    """The text of a symbolic link; None for a file."""

    @classmethod
    def of_link(cls, path: str, link: str, placement: Placement) -> "InstalledFile":
        """Return a symbolic link as it was installed.

        Raises:
            BadPath: It leads out of the receipt's location.
        """
        resolve_link(path, link)
        text = link.encode()
        return cls(
            path=path,
            digest=Digest.of(text),
            size=len(text),
            placement=placement,
            inode=0,
            link=link,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one install did."""

    target: str
    """Name of the runtime, as ``--to`` spells it."""
    location: str
    """Absolute path of the folder that the paths are relative to."""
    name: str
    """What the model is called there."""
    artifact: Digest
    files: tuple[InstalledFile, ...]
    """In the order in which they appeared; undoing removes the last one first."""
    folders: tuple[str, ...]
    """Folders that were made for the model, outermost first; ``.`` is the location."""
    installed: datetime
    """When, with its time zone."""
    notes: tuple[str, ...] = ()
    """What the operator should know: how to start the runtime, what was left out."""

    @property
    def size(self) -> int:
        """Sum of the files' sizes, in bytes."""
        return sum(file.size for file in self.files)

    def count(self, placement: Placement) -> int:
        """Return how many files got to their place in this way."""
        return sum(file.placement is placement for file in self.files)

    def as_json(self) -> dict[str, canonical.Json]:
        """Return the receipt as a JSON value, for records that hold it inside."""
        version = 1 if all(file.link is None for file in self.files) else 2
        return {
            "_type": f"{RECEIPT_TYPE}{version}",
            "target": self.target,
            "location": self.location,
            "name": self.name,
            "artifact": str(self.artifact),
            "installed": self.installed.isoformat(),
            "files": [_file_json(file, version) for file in self.files],
            "folders": list(self.folders),
            "notes": list(self.notes),
        }

    def encode(self) -> bytes:
        """Return the canonical JSON bytes."""
        return canonical.encode(self.as_json())

    @classmethod
    def from_json(cls, value: canonical.Json) -> "Receipt":
        """Return the receipt that ``as_json`` gave.

        Raises:
            UnsupportedVersion: A newer release wrote it; it is sound as far as can be told.
            MalformedRecord: Not a receipt, unsafe paths, or above the limits.
        """
        fields = Fields(value, where="receipt")
        version = _parse_version(fields.text("_type"))
        try:
            receipt = cls(
                target=fields.text("target", longest=64),
                location=_parse_location(fields),
                name=fields.text("name"),
                artifact=Digest.parse(fields.text("artifact")),
                files=tuple(
                    _parse_file(item, version) for item in fields.items("files", most=MOST_FILES)
                ),
                folders=_parse_folders(fields.items("folders", most=MOST_FILES)),
                installed=_parse_time(fields.text("installed", longest=40)),
                notes=_parse_notes(fields.items("notes", most=MOST_NOTES)),
            )
        except (BadDigest, BadPath) as error:
            raise MalformedRecord(f"receipt: {error}") from error
        _finish(fields, version)
        return receipt

    @classmethod
    def parse(cls, data: bytes) -> "Receipt":
        """Return the receipt encoded in ``data``.

        Raises:
            UnsupportedVersion: A newer release wrote it; it is sound as far as can be told.
            MalformedRecord: Not a receipt, unsafe paths, or above the limits.
        """
        return cls.from_json(canonical.parse(data, limit=RECEIPT_LIMIT, values=MOST_VALUES))


def _file_json(file: InstalledFile, version: int) -> dict[str, canonical.Json]:
    row: dict[str, canonical.Json] = {"path": file.path, "placement": file.placement.value}
    if file.link is not None:
        return {**row, "kind": "link", "link": file.link}
    row |= {"digest": str(file.digest), "size": file.size, "inode": file.inode}
    return row if version == 1 else {**row, "kind": "file"}


def _parse_version(text: str) -> int:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise MalformedRecord("receipt: not of type modelvault/receipt")
    if (version := int(match[1])) > NEWEST_VERSION:
        raise _newer(f"it is of version {version}, and this release reads {NEWEST_VERSION}")
    return version


def _parse_file(item: canonical.Json, version: int) -> InstalledFile:
    fields = Fields(item, where="receipt.files")
    kind = "file" if version == 1 else fields.text("kind", longest=64)
    if kind not in _PLACEMENTS:
        raise _newer(f"it lists a file of the kind {kind!r}")
    placement = _parse_placement(fields.text("placement", longest=64), kind, version)
    path = check_path(fields.text("path", longest=2048))
    if kind == "link":
        file = InstalledFile.of_link(path, fields.text("link", longest=LONGEST_LINK), placement)
    else:
        file = InstalledFile(
            path=path,
            digest=Digest.parse(fields.text("digest")),
            size=fields.integer("size"),
            placement=placement,
            inode=fields.integer("inode"),
        )
    _finish(fields, version)
    return file


def _parse_placement(text: str, kind: str, version: int) -> Placement:
    if text in _PLACEMENTS[kind]:
        return Placement(text)
    if version == 1 or text in list(Placement):
        raise MalformedRecord(f"receipt.files: placement {text!r} of a {kind}")
    raise _newer(f"it lists a file that was placed by {text!r}")


def _finish(fields: Fields, version: int) -> None:
    """Refuse fields that nobody read: damage in ``v1``, which never grows, else newer."""
    try:
        fields.finish()
    except MalformedRecord as error:
        if version == 1:
            raise
        raise _newer(error.message) from error


def _newer(reason: str) -> UnsupportedVersion:
    return UnsupportedVersion(f"the receipt was written by a newer release: {reason}", hint=_UPDATE)


def _parse_location(fields: Fields) -> str:
    location = fields.text("location")
    if not location.startswith("/") or "\0" in location or ".." in location.split("/"):
        raise MalformedRecord(f"receipt: {location!r} is no absolute path")
    return location


def _parse_folders(items: Sequence[canonical.Json]) -> tuple[str, ...]:
    folders = []
    for item in items:
        if not isinstance(item, str):
            raise MalformedRecord("receipt: 'folders' must hold strings")
        folders.append(item if item == "." else check_path(item))
    return tuple(folders)


def _parse_notes(items: Sequence[canonical.Json]) -> tuple[str, ...]:
    notes = []
    for item in items:
        if not isinstance(item, str) or len(item) > 4096:
            raise MalformedRecord("receipt: 'notes' must hold strings up to 4096 long")
        notes.append(item)
    return tuple(notes)


def _parse_time(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedRecord(f"receipt: {text!r} is no time") from error
    if value.tzinfo is None:
        raise MalformedRecord(f"receipt: {text!r} has no time zone")
    return value
