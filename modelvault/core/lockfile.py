"""Lock files: which commits and bytes a mirror list stood for when it was pulled.

Canonical JSON, so that equal sets give equal files and a version control system shows what
changed. Nothing in it is secret or local: no endpoint, token, time or path of a machine.

Format (``modelvault/lockfile/v1``): see ``docs/formats/lockfile.md``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from modelvault.core import canonical
from modelvault.core.canonical import Json
from modelvault.core.fields import Fields
from modelvault.core.manifest import MANIFEST_TYPE, MOST_FILES, FileEntry, Manifest
from modelvault.core.names import ModelName, is_commit, is_revision
from modelvault.errors import BadReference, MalformedRecord

LOCK_KIND = "modelvault/lockfile"
LOCK_TYPE = f"{LOCK_KIND}/v1"
LOCK_LIMIT = 64 * 1024 * 1024
"""Largest lock file that is read, in bytes."""
MOST_ENTRIES = 10_000
_MOST_PATTERNS = 1000
_LONGEST_PATTERN = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """One pinned pull."""

    model: ModelName
    requested: str
    """The branch, tag or commit that was asked for."""
    commit: str
    """Full commit id that it stood for."""
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    manifest: Manifest
    """The files that were selected."""

    @property
    def key(self) -> tuple[str, str]:
        """What is unique in a lock file: model and requested revision."""
        return str(self.model), self.requested


def encode_lock(entries: Iterable[LockEntry]) -> bytes:
    """Return the canonical bytes of a lock file."""
    ordered = sorted(entries, key=lambda entry: entry.key)
    return canonical.encode({"_type": LOCK_TYPE, "entries": [_encode(item) for item in ordered]})


def _encode(entry: LockEntry) -> Json:
    return {
        "model": str(entry.model),
        "requested": entry.requested,
        "commit": entry.commit,
        "include": list(entry.include),
        "exclude": list(entry.exclude),
        "files": [_encode_file(file) for file in entry.manifest.files],
    }


def _encode_file(file: FileEntry) -> Json:
    return {"path": file.path, "digest": str(file.digest), "size": file.size}


def parse_lock(data: bytes) -> tuple[LockEntry, ...]:
    """Return the entries of a lock file.

    Raises:
        UnsupportedVersion: A lock file of a newer version.
        MalformedRecord: Not a lock file, unsorted, an entry given twice, an
            unsafe path, or above the limits.
    """
    record = Fields(canonical.parse(data, limit=LOCK_LIMIT), where="lock file")
    record.version(LOCK_KIND)
    entries = tuple(map(_parse, record.items("entries", most=MOST_ENTRIES)))
    record.finish()
    keys = [entry.key for entry in entries]
    if keys != sorted(set(keys)):
        raise MalformedRecord("lock file: entries are not sorted, or one is given twice")
    return entries


def _parse(item: Json) -> LockEntry:
    fields = Fields(item, where="lock file entry")
    try:
        model = ModelName.parse(fields.text("model"))
    except BadReference as error:
        raise MalformedRecord(f"lock file entry: {error}") from error
    requested, commit = fields.text("requested"), fields.text("commit")
    if not is_revision(requested) or not is_commit(commit):
        raise MalformedRecord(f"lock file entry {model}: not a revision and its commit")
    files = fields.items("files", most=MOST_FILES)
    entry = LockEntry(
        model=model,
        requested=requested,
        commit=commit,
        include=_patterns(fields, "include"),
        exclude=_patterns(fields, "exclude"),
        # the manifest's own parser applies the manifest's rules
        manifest=Manifest.parse(canonical.encode({"_type": MANIFEST_TYPE, "files": files})),
    )
    fields.finish()
    if not entry.manifest.files:
        raise MalformedRecord(f"lock file entry {model}: no files")
    return entry


def _patterns(fields: Fields, name: str) -> tuple[str, ...]:
    patterns: list[str] = []
    for item in fields.items(name, most=_MOST_PATTERNS):
        if not isinstance(item, str) or not 0 < len(item) <= _LONGEST_PATTERN:
            raise MalformedRecord(f"lock file entry: '{name}' must hold patterns")
        patterns.append(item)
    return tuple(patterns)
