"""Manifests: which bytes stand under which path in one revision of a model.

A manifest is sorted ``path → (digest, size)`` in canonical JSON; the digest of that
JSON is the identity of the content. It is itself kept as a blob.

Format (``modelvault/manifest/v1``, see ``docs/formats/records.md``)::

    {"_type":"modelvault/manifest/v1",
     "files":[{"digest":"sha256:…","path":"config.json","size":654},…]}
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import cast

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.core.names import check_path
from modelvault.errors import BadDigest, BadPath, MalformedRecord

MANIFEST_KIND = "modelvault/manifest"
MANIFEST_TYPE = f"{MANIFEST_KIND}/v1"
MANIFEST_LIMIT = 64 * 1024 * 1024
"""Largest manifest that is read, in bytes."""
MOST_FILES = 200_000
MOST_VALUES = 1_500_000
"""Most values of JSON in a manifest; one of the most files has 800,000."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class FileEntry:
    """One file of a revision."""

    path: str
    """Relative path with ``/`` between its parts, safe on every system."""
    digest: Digest
    size: int
    """Length in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The files of one revision, sorted by path; build it with ``Manifest.of``."""

    files: tuple[FileEntry, ...]
    _digest: Digest | None = field(default=None, init=False, repr=False, compare=False)
    """The identity, once it was asked for: of many files it takes as long as they do."""

    @classmethod
    def of(cls, files: Iterable[FileEntry]) -> "Manifest":
        """Return the manifest of these files.

        Raises:
            BadPath: A path is unsafe, given twice, differs from another only in case, or
                is both a file and a folder.
        """
        entries = tuple(sorted(files, key=attrgetter("path")))  # no path stands there twice
        seen: dict[str, str] = {}
        for entry in entries:
            folded = check_path(entry.path).casefold()
            if folded in seen:
                raise BadPath(f"paths '{seen[folded]}' and '{entry.path}' name the same file")
            seen[folded] = entry.path
        for folded, path in seen.items():
            parent = folded.rpartition("/")[0]
            while parent:
                if parent in seen:
                    raise BadPath(f"'{seen[parent]}' is both a file and the folder of '{path}'")
                parent = parent.rpartition("/")[0]
        return cls(files=entries)

    @property
    def size(self) -> int:
        """Sum of all file sizes, in bytes."""
        return sum(entry.size for entry in self.files)

    @property
    def digest(self) -> Digest:
        """The identity: digest of the canonical JSON."""
        if self._digest is None:
            object.__setattr__(self, "_digest", Digest.of(self.encode()))
        return cast("Digest", self._digest)

    def find(self, path: str) -> FileEntry | None:
        """Return the file at ``path``, or None."""
        return next((entry for entry in self.files if entry.path == path), None)

    def encode(self) -> bytes:
        """Return the canonical JSON bytes."""
        return canonical.encode(
            {
                "_type": MANIFEST_TYPE,
                "files": [
                    {"path": entry.path, "digest": str(entry.digest), "size": entry.size}
                    for entry in self.files
                ],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Return the manifest encoded in ``data``.

        Raises:
            UnsupportedVersion: A manifest of a newer version.
            MalformedRecord: Not a manifest, unsorted, unsafe paths, or above the limits.
        """
        record = Fields(
            canonical.parse(data, limit=MANIFEST_LIMIT, values=MOST_VALUES), where="manifest"
        )
        record.version(MANIFEST_KIND)
        try:
            files = [_parse_entry(item) for item in record.items("files", most=MOST_FILES)]
            record.finish()
            manifest = cls.of(files)
        except (BadPath, BadDigest) as error:
            raise MalformedRecord(f"manifest: {error}") from error
        if list(manifest.files) != files:
            raise MalformedRecord("manifest: files are not sorted by path")
        object.__setattr__(manifest, "_digest", Digest.of(data))  # as canonical as what is encoded
        return manifest


def _parse_entry(item: canonical.Json) -> FileEntry:
    fields = Fields(item, where="manifest.files")
    entry = FileEntry(
        path=fields.text("path", longest=2048),
        digest=Digest.parse(fields.text("digest")),
        size=fields.integer("size"),
    )
    fields.finish()
    return entry
