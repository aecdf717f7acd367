"""The hf-transfer engine: whole files or nothing, and nothing but the declared size."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from modelvault.errors import FetchError
from modelvault.sources.fetch.libraries.hf_transfer import HfTransferEngine
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions
from modelvault.store.blobs import Store
from tests.support.downloads import commit_of, content_of, downloader, publish
from tests.support.engines import CONNECTION, CONTENT, MIB, PATH, Notes, fetch, need_hf_transfer
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub


def transfer(questions: Questions, connection: Connection = CONNECTION) -> HfTransferEngine:
    """Return the engine, for files of any size."""
    need_hf_transfer()
    return HfTransferEngine(questions, connection, smallest=1)


@pytest.fixture
def anonymous() -> Iterator[Questions]:
    """Yield questions without a token."""
    with Questions(CONNECTION) as questions:
        yield questions


def test_failing_library_deletes_its_own_name_of_the_file_alone(
    hub: LoopbackHub, store: Store, anonymous: Questions
) -> None:
    """The partial survives the library's clean-up, and HTTP fills it."""
    file = publish(hub, {PATH: CONTENT})[PATH]
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.CDN, status=403, times=1))
    content, notes = fetch(store, file, transfer(anonymous))
    assert content == CONTENT
    assert notes[0].startswith("hf-transfer gives up (")
    assert "Signature" not in notes[0]
    assert list(store.paths.partials.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from modelvault.core.digest import Digest
from modelvault.core.ports import Silence
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.choice import open_engine
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.hub.home import HubHome
from modelvault.sources.net.connection import Connection
from modelvault.store.blobs import Store
root, url, size, sha256, commit = sys.argv[1:]
file = RemoteFile(path="model.safetensors", size=int(size), url=url,
                  checksum=Digest(sha256), home=HubHome(commit=commit))
class Killer(Silence):
    def advance(self, task, amount, **news):
        os.kill(os.getpid(), signal.SIGKILL)
connection = Connection(connections=2)
with open_engine("hf-transfer", connection, xet_url="") as engine:
    Downloader(Store.create(Path(root)), connection, engine=engine, progress=Killer()).fetch(file)
"""


def test_killed_whole_file_fetch_begins_again_and_leaves_nothing(
    hub: LoopbackHub, store: Store, anonymous: Questions
) -> None:
    """The journal vouches for nothing; the next run takes the library's name away."""
    engine = transfer(anonymous)
    file = publish(hub, {PATH: CONTENT})[PATH]
    assert file.sha256 is not None
    arguments = [store.paths.root, file.url, file.size, file.sha256.hex, commit_of(file)]
    child = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False)
    assert child.returncode == -signal.SIGKILL
    with store.open_partial(file.key, file.size) as partial:
        assert partial.present.total == 0
    assert fetch(store, file, engine) == (CONTENT, [])
    assert list(store.paths.partials.iterdir()) == []


def test_file_that_has_begun_is_left_to_http(
    hub: LoopbackHub, store: Store, anonymous: Questions
) -> None:
    """The library would fetch everything again."""
    file = publish(hub, {PATH: CONTENT})[PATH]
    with store.open_partial(file.key, file.size) as partial:
        partial.write(0, CONTENT[:MIB])
        partial.record(0, MIB)
    content, notes = fetch(store, file, transfer(anonymous))
    assert content == CONTENT
    assert "cannot resume" in notes[0]
    assert hub.journal.sent() == len(CONTENT) - MIB


def test_attack_server_with_a_longer_file_cannot_fill_the_disk(
    hub: LoopbackHub, store: Store, anonymous: Questions
) -> None:
    """The kernel stops the library at the declared size."""
    declared = publish(hub, {PATH: CONTENT})[PATH]
    longer = publish(hub, {PATH: bytes(3 * len(CONTENT))}, "acme/longer")[PATH]
    lying = replace(declared, url=longer.url, home=longer.home)
    with pytest.raises(FetchError):
        fetch(store, lying, transfer(anonymous))
    assert list(store.blobs()) == []
    sizes = [path.stat().st_size for path in store.paths.partials.iterdir()]
    assert max(sizes) <= len(CONTENT)


def test_token_is_not_given_to_the_library(hub: LoopbackHub, store: Store) -> None:
    """A mirror that sends the bytes itself and asks for the token is left to HTTP."""
    hub.mirror = True
    hub.grant("hub-token", "acme/tiny")
    file = publish(hub, {PATH: CONTENT}, gated="manual")[PATH]
    connection, notes = replace(CONNECTION, token="hub-token"), Notes()
    with Questions(connection) as questions:
        engine = transfer(questions, connection)
        fetcher = downloader(store, engine=engine, token="hub-token", segment=MIB, progress=notes)
        assert content_of(store, fetcher.fetch(file)) == CONTENT
    assert "names no other place" in notes.notes[0]
