"""What a Hub's listing says of one file, believed only where it makes sense."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from modelvault.core.digest import Digest
from modelvault.core.names import ModelName, is_commit
from modelvault.core.repository import HubRepository, dataset_name, repository_of
from modelvault.errors import BadDigest, BadReference
from modelvault.sources.card import clean
from modelvault.sources.fetch.file import Checksum, GitBlob, RemoteFile, read_xet_hash
from modelvault.sources.hub.home import HubHome

LARGEST_FILE = 2**53 - 1
"""Bytes; sizes above it cannot be recorded."""


class Unusable(Exception):
    """The answer makes no sense; its text says what it was, not who gave it."""


def read_path(entry: Any) -> str:
    """Return what a file of a repository's tree is called there.

    Raises:
        Unusable: It is no text.
    """
    if not isinstance(entry.path, str):
        raise Unusable(f"file {entry.path!r:.200}")
    return entry.path


def read_entry(
    entry: Any,
    findings: Mapping[str, str],
    recorded: Mapping[str, str],
    *,
    base: str,
    home: HubHome,
) -> RemoteFile:
    """Return one file of a repository's tree.

    Args:
        entry: What the Hub's client made of the answer; any field may be of any type.
        findings: Path → level, from the scan of the whole repository.
        recorded: Path at the Hub → path as it is recorded.
        base: URL below which the revision's files are.
        home: The Hub, at the pinned commit.

    Raises:
        Unusable: Size, digest or id are not what they should be.
    """
    path, size, blob = read_path(entry), entry.size, entry.blob_id
    if type(size) is not int or not 0 <= size <= LARGEST_FILE:
        raise Unusable(f"file {path!r:.200} of size {size!r:.50}")
    scan = entry.security.status if entry.security else ""
    scan = clean(scan, longest=32) if isinstance(scan, str) else ""
    scan = scan or findings.get(path, "")
    if entry.lfs is not None:
        if entry.lfs.size != size:
            raise Unusable(f"two sizes of {path}: {size} and {entry.lfs.size!r:.50}")
        try:
            checksum: Checksum = Digest(entry.lfs.sha256)
        except (BadDigest, TypeError) as error:
            raise Unusable(f"digest {entry.lfs.sha256!r:.80} of {path}") from error
    elif isinstance(blob, str) and is_commit(blob):  # both are SHA-1 in hex
        checksum = GitBlob(blob)
    else:
        raise Unusable(f"blob id {blob!r:.80} of {path}")
    return RemoteFile(
        path=recorded[path],
        size=size,
        checksum=checksum,
        xet_hash=read_xet_hash(entry.xet_hash) if entry.lfs is not None else None,
        scan=scan,
        url=f"{base}/{quote(path, errors='surrogatepass')}",
        home=home,
    )


def parse_name(text: object, known: HubRepository) -> HubRepository | None:
    """Return what a repository calls itself; None where that is no name.

    Args:
        text: The answer's own name for it.
        known: The repository that was asked for, whose kind it shares.
    """
    try:
        name = ModelName.parse(text) if isinstance(text, str) else None
    except BadReference:
        return None  # a mirror's own idea of a name; the asked one goes on being used
    if name is None:
        return None
    return repository_of(dataset_name(name) if known.kind == "dataset" else name)
