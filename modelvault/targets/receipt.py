"""Receipts: what an install did, so that it can be undone, and shown to an auditor.

A receipt lists every file of the installed model, whether this run brought it or found it
there, byte for byte the same: installing twice gives the same list as installing once.

Format (``modelvault/receipt/v1``, canonical JSON)::

    {"_type":"modelvault/receipt/v1","target":"ollama","location":"/srv/models",
     "name":"llama:q4_k_m","artifact":"sha256:…","installed":"2026-11-20T12:00:00+00:00",
     "files":[{"path":"blobs/sha256-…","digest":"sha256:…","size":12,
               "placement":"hardlink","inode":42},…],
     "folders":["manifests/registry.ollama.ai/library/llama"],"notes":["…"]}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.core.names import check_path
from modelvault.errors import BadDigest, BadPath, MalformedRecord

RECEIPT_TYPE = "modelvault/receipt/v1"
RECEIPT_LIMIT = 64 * 1024 * 1024
"""Largest receipt that is read, in bytes."""
MOST_FILES = 200_000
MOST_NOTES = 64


class Placed(StrEnum):
    """How an installed file got to its place."""

    HARDLINK = "hardlink"
    """It is the vault's own file under a second name."""
    REFLINK = "reflink"
    """It shares the vault's disk blocks, copy on write."""
    COPY = "copy"
    """It is a copy, or was written from memory."""
    PRESENT = "present"
    """It stood there already with these very bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledFile:
    """One file of an installed model."""

    path: str
    """Relative to the receipt's location."""
    digest: Digest
    size: int
    """Length in bytes."""
    placement: Placed
    inode: int
    """Inode number, its lowest 63 bits; tells an untouched hardlink without hashing it."""


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

    def count(self, placement: Placed) -> int:
        """Return how many files were placed in this way."""
        return sum(file.placement is placement for file in self.files)

    def as_json(self) -> dict[str, canonical.Json]:
        """Return the receipt as a JSON value, for records that hold it inside."""
        return {
            "_type": RECEIPT_TYPE,
            "target": self.target,
            "location": self.location,
            "name": self.name,
            "artifact": str(self.artifact),
            "installed": self.installed.isoformat(),
            "files": [
                {
                    "path": file.path,
                    "digest": str(file.digest),
                    "size": file.size,
                    "placement": file.placement.value,
                    "inode": file.inode,
                }
                for file in self.files
            ],
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
            MalformedRecord: Not a receipt, unsafe paths, or above the limits.
        """
        fields = Fields(value, where="receipt")
        if fields.text("_type") != RECEIPT_TYPE:
            raise MalformedRecord(f"receipt: not of type {RECEIPT_TYPE}")
        try:
            receipt = cls(
                target=fields.text("target", longest=64),
                location=_parse_location(fields),
                name=fields.text("name"),
                artifact=Digest.parse(fields.text("artifact")),
                files=tuple(_parse_file(item) for item in fields.items("files", most=MOST_FILES)),
                folders=_parse_folders(fields.items("folders", most=MOST_FILES)),
                installed=_parse_time(fields.text("installed", longest=40)),
                notes=_parse_notes(fields.items("notes", most=MOST_NOTES)),
            )
        except (BadDigest, BadPath) as error:
            raise MalformedRecord(f"receipt: {error}") from error
        fields.finish()
        return receipt

    @classmethod
    def parse(cls, data: bytes) -> "Receipt":
        """Return the receipt encoded in ``data``.

        Raises:
            MalformedRecord: Not a receipt, unsafe paths, or above the limits.
        """
        return cls.from_json(canonical.parse(data, limit=RECEIPT_LIMIT))


def _parse_location(fields: Fields) -> str:
    location = fields.text("location")
    if not location.startswith("/") or "\0" in location or ".." in location.split("/"):
        raise MalformedRecord(f"receipt: {location!r} is no absolute path")
    return location


def _parse_file(item: canonical.Json) -> InstalledFile:
    fields = Fields(item, where="receipt.files")
    placement = fields.text("placement", longest=16)
    if placement not in list(Placed):
        raise MalformedRecord(f"receipt.files: unknown placement '{placement}'")
    file = InstalledFile(
        path=check_path(fields.text("path", longest=2048)),
        digest=Digest.parse(fields.text("digest")),
        size=fields.integer("size"),
        placement=Placed(placement),
        inode=fields.integer("inode"),
    )
    fields.finish()
    return file


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
