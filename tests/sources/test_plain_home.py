"""The engine over any web server: no Hub is needed, and a token is not shown by itself."""

import os
from typing import Any

import pytest

from modelvault.core.digest import Digest
from modelvault.errors import AccessDenied, DownloadFailed, UpstreamChanged
from modelvault.sources.fetch.file import OfferedFile, RemoteFile
from modelvault.sources.fetch.home import PlainHome
from modelvault.store.blobs import Store
from tests.support.downloads import content_of, downloader
from tests.support.webserver import Server, reply, send_range

MODEL = os.urandom(300_000)


def described(server: Server) -> RemoteFile:
    """Return a file whose size was asked for after it was listed."""
    listed = OfferedFile(path="a/model.gguf", size=None, checksum=Digest.of(MODEL))
    url = f"{server.url}/a/model.gguf"
    return RemoteFile.of(listed, url=url, home=PlainHome(), size=len(MODEL))


def test_file_of_a_plain_server_comes_in_ranges(store: Store) -> None:
    """Segments, checks and names are those of any file; the server sees no token."""
    with Server(lambda exchange: send_range(exchange, MODEL)) as server:
        digest = downloader(store, segment=64 * 1024).fetch(described(server))
    assert content_of(store, digest) == MODEL
    ranges = {headers["range"] for _, _, headers in server.seen if "range" in headers}
    assert len(ranges) == 5
    assert not any("authorization" in headers for _, _, headers in server.seen)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (404, UpstreamChanged, "the server has no such file"),
        (403, AccessDenied, "refuses access without a login"),
        (418, DownloadFailed, "answers 418"),
    ],
)
def test_refusal_of_a_plain_server_is_told_in_its_own_words(
    store: Store, status: int, error: type[Exception], words: str
) -> None:
    """No word of a Hub or its tokens: there is none."""

    def refuse(exchange: Any) -> None:
        reply(exchange, status, WWW_Authenticate="Basic")

    with Server(refuse) as server, pytest.raises(error, match=words) as caught:
        downloader(store).fetch(described(server))
    assert "Hub" not in str(caught.value)


def test_other_declared_checksum_stops_before_the_bytes(store: Store) -> None:
    """Artifactory and Nexus say what they serve: another content is not worth fetching."""

    def answer(exchange: Any) -> None:
        send_range(exchange, MODEL, X_Checksum_Sha256=Digest.of(b"other").hex)

    with Server(answer) as server, pytest.raises(UpstreamChanged, match="declares sha256"):
        downloader(store).fetch(described(server))
    assert list(store.blobs()) == []
