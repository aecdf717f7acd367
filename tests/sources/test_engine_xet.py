"""The Xet engine against hf_xet's own storage: resumed, checked, given up in time."""

import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modelvault.sources.fetch.engine import EngineFailed
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.libraries.xet import XetAccess, XetEngine
from modelvault.sources.net.connection import Connection
from modelvault.store.blobs import Store
from tests.support.downloads import publish
from tests.support.engines import CONNECTION, CONTENT, MIB, PATH, PATIENT, fetch
from tests.support.hub.hub import LoopbackHub
from tests.support.xet import LocalCas, access_to


@pytest.fixture
def cas(tmp_path: Path) -> LocalCas:
    """Return an empty Xet storage."""
    return LocalCas(tmp_path / "cas")


@pytest.fixture
def file(hub: LoopbackHub, cas: LocalCas) -> RemoteFile:
    """Return a file that is on the hub and in the Xet storage."""
    return replace(publish(hub, {PATH: CONTENT})[PATH], xet_hash=cas.upload(CONTENT))


def test_file_in_the_storage_comes_from_there_alone(
    hub: LoopbackHub, store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """The hub sends no byte of it."""
    assert fetch(store, file, XetEngine(cas.access, CONNECTION)) == (CONTENT, [])
    assert hub.journal.sent() == 0


def test_holes_of_a_partial_are_asked_for_and_nothing_else(
    store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """Each gap is a stream of its own, with its own fresh permission."""
    with store.open_partial(file.key, file.size) as partial:
        for start in (2 * MIB, 5 * MIB):
            partial.write(start, CONTENT[start : start + MIB])
            partial.record(start, start + MIB)
    assert fetch(store, file, XetEngine(cas.access, CONNECTION)) == (CONTENT, [])
    assert cas.asked == 3


def test_permission_that_stopped_working_is_asked_for_again(
    hub: LoopbackHub, store: Store, cas: LocalCas, file: RemoteFile, tmp_path: Path
) -> None:
    """A storage that gives nothing costs an attempt; the next one has a new permission."""
    given = iter([access_to(f"local://{tmp_path}/empty"), cas.access()])
    assert fetch(store, file, XetEngine(lambda: next(given), CONNECTION)) == (CONTENT, [])
    assert hub.journal.sent() == 0


def test_permission_that_is_never_given_is_asked_for_three_times(
    store: Store, file: RemoteFile
) -> None:
    """No loop without bound; HTTP brings the file."""
    asked = []

    def refuse() -> XetAccess:
        asked.append(1)
        raise EngineFailed("no Xet token")

    content, notes = fetch(store, file, XetEngine(refuse, CONNECTION))
    assert content == CONTENT
    assert notes == ["xet gives up (no Xet token); going on over HTTP"]
    assert len(asked) == 3


def test_unreachable_storage_is_given_up_for_http(
    store: Store, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection ends in the file all the same, and in a warning."""
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    engine = XetEngine(lambda: access_to(closed), CONNECTION)
    content, notes = fetch(store, file, engine)
    assert content == CONTENT
    assert len(notes) == 1
    assert notes[0].startswith("xet gives up (")
    assert notes[0].endswith("going on over HTTP")


def test_attack_storage_that_says_nothing_is_cut_by_the_watchdog(
    store: Store, file: RemoteFile
) -> None:
    """A connection that is taken and never answered does not hold the pull."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}"
        engine = XetEngine(
            lambda: access_to(silent), Connection(limits=replace(PATIENT, stall_window=1.0))
        )
        content, notes = fetch(store, file, engine)
    assert content == CONTENT
    assert notes == ["xet gives up (no progress for 1 seconds); going on over HTTP"]


def test_attack_wrong_content_in_the_storage_is_replaced_over_http(
    store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """The storage's bytes go to quarantine, the hub's bytes to the store."""
    wrong = replace(file, xet_hash=cas.upload(bytes(len(CONTENT))))
    content, notes = fetch(store, wrong, XetEngine(cas.access, CONNECTION))
    assert content == CONTENT
    assert notes[0].startswith("xet brought wrong bytes")
    assert len(list(store.paths.quarantine.glob("*.txt"))) == 1


CHILD = """
import os, signal, sys, time
from pathlib import Path
from modelvault.core.digest import Digest
from modelvault.core.ports import Silence
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.libraries.xet import XetAccess, XetEngine
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.hub.home import HubHome
from modelvault.sources.net.connection import Connection
from modelvault.store.blobs import Store
root, url, size, sha256, xet_hash, cas = sys.argv[1:]
file = RemoteFile(path="model.safetensors", size=int(size), url=url,
                  checksum=Digest(sha256), home=HubHome(commit="0" * 40), xet_hash=xet_hash)
store = Store.create(Path(root))
journal = store.paths.partials / (file.key + ".journal")
class Killer(Silence):
    came = 0
    def advance(self, task, amount, **news):
        self.came += amount
        if self.came > file.size // 2:
            while b"range" not in journal.read_bytes():
                time.sleep(0.005)  # the disk may be slower than the storage
            os.kill(os.getpid(), signal.SIGKILL)
access = lambda: XetAccess(cas=cas, token="lent-token", expires=4_000_000_000)
connection = Connection()
engine = XetEngine(access, connection)
Downloader(store, connection, engine=engine, progress=Killer()).fetch(file)
"""


def test_killed_half_way_the_next_run_goes_on(
    hub: LoopbackHub, store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """What the journal vouches for is kept; the rest comes from the storage."""
    assert file.sha256 is not None
    arguments = [store.paths.root, file.url, file.size, file.sha256.hex, file.xet_hash, cas.url]
    child = subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)], check=False)
    assert child.returncode == -signal.SIGKILL
    with store.open_partial(file.key, file.size) as partial:
        assert 0 < partial.present.total < len(CONTENT)
    assert fetch(store, file, XetEngine(cas.access, CONNECTION)) == (CONTENT, [])
    assert hub.journal.sent() == 0
