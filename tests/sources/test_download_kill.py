"""Killed, interrupted, started twice: what came is kept, and the bytes end up right."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modelvault.core.digest import Digest
from modelvault.sources.fetch.file import RemoteFile
from modelvault.store.blobs import Store
from tests.support.downloads import commit_of, content_of, downloader, publish
from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub

MIB = 1024 * 1024
SIZE = 24 * MIB
SEGMENT = MIB // 4
CONNECTIONS = 4

CHILD = """
import sys
from pathlib import Path
from modelvault.core.digest import Digest
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.hub.home import HubHome
from modelvault.sources.net.connection import Connection
from modelvault.store.blobs import Store
root, url, size, sha256, commit, segment, connections = sys.argv[1:]
file = RemoteFile(path="model.safetensors", size=int(size), url=url,
                  checksum=Digest(sha256), home=HubHome(commit=commit))
engine = Downloader(Store.create(Path(root)), Connection(connections=int(connections)),
                    segment=int(segment))
try:
    print(engine.fetch(file).hex, flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """Return a file of random bytes."""
    path = tmp_path / "content"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def file(hub: LoopbackHub, content: Path) -> RemoteFile:
    """Return that file on the hub."""
    return publish(hub, {"model.safetensors": content})["model.safetensors"]


def start(store: Store, file: RemoteFile) -> subprocess.Popen[str]:
    """Download in a process of its own."""
    assert file.sha256 is not None
    arguments = [store.paths.root, file.url, file.size, file.sha256.hex, commit_of(file)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, [*arguments, SEGMENT, CONNECTIONS])],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_bytes(hub: LoopbackHub, amount: int, seconds: float = 20.0) -> None:
    """Return when the hub has sent so many bytes."""
    until = time.monotonic() + seconds
    while hub.journal.sent() < amount and time.monotonic() < until:
        time.sleep(0.005)


def _vouched_for(store: Store, file: RemoteFile) -> int:
    """Return the bytes whose ranges stand in the journal of a file under way."""
    path = store.paths.partials / f"{file.key}.journal"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    ranges = [line.split() for line in lines if line.startswith("range ") and line[-1] == "\n"]
    return sum(int(end) - int(begin) for _, begin, end, _ in ranges)


def _equal_bytes(one: Path, other: Path, block: int = 4096) -> int:
    """Return the bytes of the blocks that are equal in two files of the same length."""
    left, right = one.read_bytes(), other.read_bytes()
    starts = range(0, len(right), block)
    return block * sum(left[at : at + block] == right[at : at + block] for at in starts)


def test_killed_at_random_moments_the_download_goes_on(
    hub: LoopbackHub, store: Store, file: RemoteFile, content: Path
) -> None:
    """Ten kills cost at most a segment per connection each; the bytes are right at the end."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=10 * MIB, times=None))
    dice = random.Random(20260101)
    kept = 0
    for _ in range(10):
        child = start(store, file)
        before = hub.journal.sent()
        wait_for_bytes(hub, before + dice.randrange(1, 3 * MIB))
        time.sleep(dice.random() * 0.03)
        child.kill()
        child.communicate()
        with store.open_partial(file.key, file.size, wait=60) as partial:
            present = partial.present.total
        assert present >= kept
        kept = present
    assert 0 < kept < SIZE
    hub.faults.clear()
    child = start(store, file)
    printed, _ = child.communicate(timeout=60)
    assert printed.strip() == Digest.of(content.read_bytes()).hex
    assert content_of(store, Digest(printed.strip())) == content.read_bytes()
    # Each kill may lose what the socket buffers held besides the segments under way.
    in_sockets = 6 * MIB
    assert hub.journal.sent() <= SIZE + 10 * CONNECTIONS * (SEGMENT + in_sockets)
    assert list(store.paths.quarantine.iterdir()) == []


def test_killed_half_way_little_is_fetched_twice(
    hub: LoopbackHub, store: Store, file: RemoteFile, content: Path
) -> None:
    """The second run asks for what is missing: about one segment per connection was there."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=4 * MIB, times=None))
    child = start(store, file)
    while (vouched := _vouched_for(store, file)) < SIZE // 2:
        time.sleep(0.005)
    child.kill()
    child.communicate()
    with store.open_partial(file.key, file.size, wait=60) as partial:
        present = partial.present.total
        written = _equal_bytes(partial.path, content)
    assert vouched <= present <= written
    assert written - present <= 2 * CONNECTIONS * SEGMENT  # waiting for the disk, and under way
    hub.faults.clear()
    hub.journal.clear()
    child = start(store, file)
    assert child.wait(60) == 0
    child.communicate()
    assert hub.journal.sent() == SIZE - present


def test_interrupt_stops_the_download_and_keeps_everything(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """Every byte that was written when Ctrl-C came is vouched for."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=MIB // 2, times=None))
    child = start(store, file)
    wait_for_bytes(hub, 6 * MIB)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    child.communicate()
    assert hub.journal.sent() < SIZE
    with store.open_partial(file.key, file.size) as partial:
        assert partial.present.total >= 5 * MIB  # of 6; the rest was still in the sockets


@pytest.mark.parametrize(
    "fault",
    [Fault(kind=Kind.DELAY, seconds=30.0, times=None), Fault(kind=Kind.STALL, times=None)],
    ids=["before an answer", "within one"],
)
def test_interrupt_while_nothing_comes_is_noticed(
    hub: LoopbackHub, store: Store, file: RemoteFile, fault: Fault
) -> None:
    """Silence on all connections does not keep the user waiting."""
    hub.faults.add(fault)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.4, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        downloader(store, connections=2, limits={"read_timeout": 30.0}).fetch(file)
    assert len(hub.journal.requests()) <= 3  # nobody's patience ended first, and asked again
    timer.join()
    # A worker that is in the disk's hands when the others end is left behind: it ends by itself.
    for thread in threading.enumerate():
        if thread.name.startswith(("fetch-", "hasher", "flusher")):
            thread.join(60)
            assert not thread.is_alive()
    with store.open_partial(file.key, file.size):
        pass  # the lock is free again


def test_two_processes_pull_one_file_once(hub: LoopbackHub, store: Store, file: RemoteFile) -> None:
    """The second waits for the first and finds the blob."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=20 * MIB, times=None))
    children = [start(store, file) for _ in range(2)]
    printed = {child.communicate(timeout=60)[0].strip() for child in children}
    assert file.sha256 is not None
    assert printed == {file.sha256.hex}
    assert [child.returncode for child in children] == [0, 0]
    assert hub.journal.sent() == SIZE


def test_second_process_takes_over_when_the_first_is_killed(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """The kernel frees the lock of the dead; who waited goes on with what it left."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=4 * MIB, times=None))
    first = start(store, file)
    wait_for_bytes(hub, SIZE // 3)
    second = start(store, file)
    wait_for_bytes(hub, SIZE // 2)
    first.kill()
    first.communicate()
    hub.faults.clear()
    printed, _ = second.communicate(timeout=60)
    assert file.sha256 is not None
    assert printed.strip() == file.sha256.hex
    assert hub.journal.sent() < SIZE * 2
