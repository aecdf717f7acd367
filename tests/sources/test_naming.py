"""One name for one file, however its characters are composed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.sums import SumsUrl
from modelvault.errors import BadPath
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.folder.source import FolderSource
from modelvault.sources.hub.source import HubSource
from modelvault.sources.naming import name_files
from modelvault.sources.net.connection import Connection
from modelvault.sources.selection import select
from modelvault.sources.source import Source
from modelvault.sources.sums.source import SumsSource
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.fileserver import FileServer
from tests.support.hub.hub import LoopbackHub

TINY = ModelName.parse("acme/tiny")
PARTED, COMPOSED = "caf\u0065\u0301/\u1112\u1161\u11ab.txt", "café/한.txt"
DATA = os.urandom(400)


@pytest.fixture(params=["hub", "folder", "sums"])
def source(request: pytest.FixtureRequest, tmp_path: Path, no_token: None) -> Iterator[Source]:
    """Return each source in turn, of one file whose name is spelled in parts."""
    files = {PARTED: DATA, "config.json": b"{}"}
    if request.param == "hub":
        with LoopbackHub() as hub:
            hub.add("acme/tiny", files)
            yield HubSource(TINY, None, Connection(endpoint=hub.endpoint))
    elif request.param == "folder":
        for path, data in files.items():
            (tmp_path / "tiny" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tiny" / path).write_bytes(data)
        yield FolderSource(tmp_path / "tiny", TINY)
    else:
        with FileServer(files) as server:
            url = SumsUrl.parse(server.url)
            yield SumsSource(url, TINY, Connection(), pinned=Digest.parse(server.digest))


def test_name_in_parts_is_recorded_composed_and_found_where_it_is(
    source: Source, store: Store
) -> None:
    """The way in for what macOS made: fetched by its own name, kept under the one name."""
    offer = source.offer()
    assert [file.path for file in offer.files] == [COMPOSED, "config.json"]
    assert any(COMPOSED in note and "NFC" in note for note in offer.notes)
    chosen = select(offer.files, include=(), exclude=()).chosen
    digests = deliver(source, store, offer=offer, files=chosen)
    assert digests[COMPOSED] == Digest.of(DATA)


def test_patterns_speak_of_the_recorded_name(source: Source) -> None:
    """As people type it."""
    files = source.offer().files
    assert [file.path for file in select(files, include=["café/*"], exclude=()).chosen] == [
        COMPOSED
    ]


def test_two_spellings_of_one_name_are_left_to_the_user() -> None:
    """Neither takes the other's place; the pattern that is suggested leaves one out."""
    naming = name_files([PARTED, COMPOSED, "x"])
    assert naming.recorded == {PARTED: PARTED, COMPOSED: COMPOSED, "x": "x"}
    assert naming.notes == ()
    both = [OfferedFile(path=path, size=1) for path in (PARTED, COMPOSED)]
    with pytest.raises(BadPath, match="normal form C"):
        select(both, include=(), exclude=())
