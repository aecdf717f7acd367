"""What the tests of the download engine share: quick limits, and files of a loopback hub."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelvault.core.digest import Digest
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.file import GitBlob, RemoteFile
from modelvault.sources.hub.home import HubHome
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.retry import Limits
from modelvault.store.blobs import Store
from tests.support.hub.hub import LoopbackHub
from tests.support.hub.repository import Content

KIB = 1024
_CONNECTION = ("token", "ca_bundle", "connections", "rate")
QUICK: Mapping[str, Any] = {
    "progress": 64 * KIB,
    "first_wait": 0.005,
    "longest_wait": 0.02,
    "connect_timeout": 10.0,
    "read_timeout": 10.0,
}
"""Limits with waits that suit a test."""


def publish(
    hub: LoopbackHub, files: Mapping[str, Content], name: str = "acme/tiny", **options: Any
) -> dict[str, RemoteFile]:
    """Put files on a hub; return path → what the download engine is given for each."""
    repository = hub.add(name, files, **options)
    commit = repository.commits[-1]
    return {
        path: RemoteFile(
            path=path,
            size=file.size,
            url=f"{hub.endpoint}/{name}/resolve/{commit.id}/{path}",
            checksum=Digest(file.sha256) if file.lfs else GitBlob(file.blob_id),
            home=HubHome(commit=commit.id),
        )
        for path, file in commit.files.items()
    }


def commit_of(file: RemoteFile) -> str:
    """Return the commit that a file of a hub is pinned to."""
    assert isinstance(file.home, HubHome)
    return file.home.commit


def downloader(store: Store, *, limits: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """Return a downloader with quick limits and segments of 64 KiB.

    Args:
        store: Where the files go.
        limits: Other limits than the quick ones.
        options: Of ``Downloader``, and fields of its connection.
    """
    connection = Connection(
        limits=Limits(**{**QUICK, **(limits or {})}),
        **{name: options.pop(name) for name in _CONNECTION if name in options},
    )
    return Downloader(store, connection, **{"segment": 64 * KIB, **options})


def content_of(store: Store, digest: Digest) -> bytes:
    """Return a blob's bytes, after checking that the file system holds what its name says."""
    data = Path(store.path(digest)).read_bytes()
    assert Digest.of(data) == digest
    return data


def once_sent(hub: LoopbackHub, amount: int, action: Callable[[], object]) -> threading.Thread:
    """Do something once the hub has sent ``amount`` bytes; return the thread that waits."""

    def wait() -> None:
        while hub.journal.sent() < amount:
            time.sleep(0.005)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread
