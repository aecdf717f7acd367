"""Lock files: which commits and bytes a mirror list stood for when it was pulled.

Canonical JSON, so that equal sets give equal files, with a line for each pull and each file, so
that a version control system shows what changed. Nothing in it is secret or local: no endpoint of a
Hub, token, time or path of a machine.

Format (``modelvault/lockfile/v1`` to ``v3``): see ``docs/formats/lockfile.md``. ``v3`` is written;
``v1`` and ``v2`` are the same in one line, as earlier releases wrote them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from modelvault.core import canonical
from modelvault.core.canonical import Json
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.core.manifest import MANIFEST_TYPE, MOST_FILES, FileEntry, Manifest
from modelvault.core.names import ModelName, is_commit, is_revision
from modelvault.core.sums import SumsUrl
from modelvault.errors import BadDigest, BadOption, BadReference, MalformedRecord

LOCK_KIND = "modelvault/lockfile"
LOCK_LIMIT = 64 * 1024 * 1024
"""Largest lock file that is read, in bytes."""
MOST_VALUES = 4_000_000
"""Most values of JSON in a lock file; one of the greatest length has about 2,600,000."""
MOST_ENTRIES = 10_000
_NEWEST = 3
_IN_LINES = 3
"""The first version with more than one line."""
_MOST_PATTERNS = 1000
_LONGEST_PATTERN = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedSums:
    """The list of checksums that a pull went by."""

    url: SumsUrl
    digest: Digest
    """Of the list's bytes."""

    def is_asked_as(self, requested: str) -> bool:
        """Return whether a pull of this list can have been asked for by that name."""
        return requested in (self.url.name, self.digest.hex[:40])


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """One pinned pull."""

    model: ModelName
    requested: str
    """The branch, tag or commit that was asked for; for a list as in ``SumsOrigin``."""
    commit: str
    """Full commit id that it stood for, or a list's revision."""
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    manifest: Manifest
    """The files that were selected."""
    sums: PinnedSums | None = None
    """The list of checksums that was pulled by; None for a repository of a Hub."""

    @property
    def key(self) -> tuple[str, str]:
        """What is unique in a lock file: model and requested revision."""
        return str(self.model), self.requested


def encode_lock(entries: Iterable[LockEntry]) -> bytes:
    """Return the bytes of a lock file: without its line ends it is canonical JSON."""
    ordered = sorted(entries, key=lambda entry: entry.key)
    head = canonical.encode({"_type": f"{LOCK_KIND}/v{_NEWEST}", "entries": []})
    return head.replace(b"[]", _list(map(_encode, ordered)), 1) + b"\n"


def _list(items: Iterable[bytes]) -> bytes:
    """Return a list with a line for each item."""
    return b"[\n" + b"".join((b",\n".join(items), b"\n")).lstrip(b"\n") + b"]"


def _encode(entry: LockEntry) -> bytes:
    fields = canonical.encode(
        {
            "model": str(entry.model),
            "requested": entry.requested,
            "commit": entry.commit,
            "include": list(entry.include),
            "exclude": list(entry.exclude),
            "files": [],
            "sums": _encode_sums(entry.sums),
        }
    )
    files = (canonical.encode(_encode_file(file)) for file in entry.manifest.files)
    before, _, after = fields.partition(b'"files":[]')  # no text holds it: its quotes are escaped
    return before + b'"files":' + _list(files) + after


def _encode_sums(sums: PinnedSums | None) -> Json:
    return None if sums is None else {"url": str(sums.url), "digest": str(sums.digest)}


def _encode_file(file: FileEntry) -> Json:
    return {"path": file.path, "digest": str(file.digest), "size": file.size}


def parse_lock(data: bytes) -> tuple[LockEntry, ...]:
    """Return the entries of a lock file.

    Raises:
        MalformedRecord: Not a lock file, unsorted, an entry given twice, an unsafe path, or
            above the limits.
        UnsupportedVersion: A newer release wrote it.
    """
    text = data.replace(b"\r\n", b"\n")  # as version control may hand it out
    one_line = text.replace(b"\n", b"")
    record = Fields(
        canonical.parse(one_line, limit=LOCK_LIMIT, values=MOST_VALUES), where="lock file"
    )
    version = record.version(LOCK_KIND, newest=_NEWEST)
    items = record.items("entries", most=MOST_ENTRIES)
    entries = tuple(_parse(item, version) for item in items)
    record.finish()
    keys = [entry.key for entry in entries]
    if keys != sorted(set(keys)):
        raise MalformedRecord("lock file: entries are not sorted, or one is given twice")
    if text != (encode_lock(entries) if version >= _IN_LINES else one_line):
        raise MalformedRecord("lock file: its lines do not end where they should")
    return entries


def _parse(item: Json, version: int) -> LockEntry:
    fields = Fields(item, where="lock file entry")
    try:
        model = ModelName.parse(fields.text("model"))
    except BadReference as error:
        raise MalformedRecord(f"lock file entry: {error}") from error
    requested, commit = fields.text("requested"), fields.text("commit")
    sums = _parse_sums(fields) if version > 1 else None
    asked = is_revision(requested) if sums is None else sums.is_asked_as(requested)
    if not asked or not is_commit(commit):
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
        sums=sums,
    )
    fields.finish()
    if not entry.manifest.files:
        raise MalformedRecord(f"lock file entry {model}: no files")
    return entry


def _parse_sums(fields: Fields) -> PinnedSums | None:
    if fields.is_null("sums"):
        return None
    item = fields.object("sums")
    try:
        url, digest = SumsUrl.parse(item.text("url")), Digest.parse(item.text("digest"))
    except (BadOption, BadDigest) as error:
        raise MalformedRecord(f"lock file entry: {error}") from error
    item.finish()
    return PinnedSums(url=url, digest=digest)


def _patterns(fields: Fields, name: str) -> tuple[str, ...]:
    patterns: list[str] = []
    for item in fields.items(name, most=_MOST_PATTERNS):
        if not isinstance(item, str) or not 0 < len(item) <= _LONGEST_PATTERN:
            raise MalformedRecord(f"lock file entry: '{name}' must hold patterns")
        patterns.append(item)
    return tuple(patterns)
