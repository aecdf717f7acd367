"""The promises that every engine keeps, and HTTP without one: what arrives is right or nothing."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest

from modelvault.core.ports import ProgressEvent, Silence
from modelvault.errors import DigestMismatch
from modelvault.sources.fetch.engine import Engine, EngineFailed, Inlet
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.libraries.hf_transfer import HfTransferEngine
from modelvault.sources.fetch.libraries.xet import XetEngine
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions
from modelvault.sources.net.retry import Limits
from modelvault.store.blobs import Store
from tests.support.downloads import QUICK, content_of, downloader, publish
from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub
from tests.support.needs import require
from tests.support.xet import LocalCas

MIB = 1024 * 1024
CONTENT = os.urandom(9 * MIB + 17)
PATH = "model.safetensors"


class FakeEngine:
    """An ``Engine`` over byte strings."""

    name = "fake"

    def __init__(self, contents: dict[str, bytes]) -> None:
        """Hold the contents by path."""
        self.contents = contents
        self.brought = 0

    def suits(self, file: RemoteFile) -> bool:
        """Return whether there is content for the path."""
        return file.path in self.contents

    def bring(self, file: RemoteFile, inlet: Inlet) -> None:
        """Write what is missing, in small pieces."""
        content = self.contents[file.path]
        if len(content) != file.size:
            raise EngineFailed(f"it has {len(content)} bytes of {file.path}")
        for start, end in inlet.gaps():
            for offset in range(start, end, MIB):
                data = content[offset : min(end, offset + MIB)]
                inlet.write(offset, data)
                self.brought += len(data)


class World:
    """A hub with one large file, and one way to bring it."""

    def __init__(self, name: str, hub: LoopbackHub, folder: Path) -> None:
        """Publish the file."""
        self.name = name
        self.hub = hub
        self.file = publish(hub, {PATH: CONTENT})[PATH]
        self._limits = Limits(**QUICK)
        self._connection = Connection(connections=2, limits=self._limits)
        self._questions = Questions(self._connection)
        self._cas = LocalCas(folder / "cas")
        self._fake = FakeEngine({PATH: CONTENT})
        if name == "xet":
            self.file = replace(self.file, xet_hash=self._cas.upload(CONTENT))

    def engine(self) -> Engine | None:
        """Return the engine; None for HTTP alone."""
        match self.name:
            case "xet":
                return XetEngine(self._cas.access, self._connection)
            case "hf-transfer":
                if find_spec("hf_transfer") is None:
                    require("hf_transfer")
                return HfTransferEngine(self._questions, self._connection, smallest=1)
            case "fake":
                return self._fake
        return None

    def downloader(self, store: Store, **options: Any) -> Any:
        """Return a downloader that asks the engine first."""
        return downloader(store, engine=self.engine(), segment=MIB, **options)

    def spoil(self) -> None:
        """Make every way to the file lead to other bytes."""
        self.hub.faults.add(Fault(kind=Kind.CORRUPT, times=None))
        wrong = bytes(len(CONTENT))
        self._fake.contents[PATH] = wrong
        if self.name == "xet":
            self.file = replace(self.file, xet_hash=self._cas.upload(wrong))

    def __enter__(self) -> Self:
        """Let questions be asked."""
        self._questions.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._questions.__exit__()


@pytest.fixture(params=["http", "xet", "hf-transfer", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Return each world in turn."""
    with LoopbackHub() as hub, World(request.param, hub, tmp_path) as world:
        yield world


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


class Ledger(Silence):
    """A ``Progress`` that adds up."""

    def __init__(self, on_advance: Callable[[], None] = lambda: None) -> None:
        """Call something at every step."""
        self.done: dict[str, int] = {}
        self.notes: list[str] = []
        self._on_advance = on_advance
        self._mutex = threading.Lock()

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Take the announcement."""
        self.done[task] = done

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Add."""
        with self._mutex:
            self.done[task] += amount
        self._on_advance()

    def end(self, task: str, *, note: str = "") -> None:
        """Keep the note."""
        if note:
            self.notes.append(note)


def test_file_arrives_verified_and_progress_adds_up(world: World, store: Store) -> None:
    """The blob holds the bytes; the steps add up to its size; nothing is left behind."""
    ledger = Ledger()
    digest = world.downloader(store, progress=ledger).fetch(world.file)
    assert content_of(store, digest) == CONTENT
    assert ledger.done == {PATH: len(CONTENT)}
    assert ledger.notes == []
    assert list(store.paths.partials.iterdir()) == []


def test_part_of_the_file_is_there_and_only_the_rest_is_written(world: World, store: Store) -> None:
    """A partial of an earlier run is completed, whoever filled it."""
    with store.open_partial(world.file.key, world.file.size) as partial:
        for start in (0, 4 * MIB):
            partial.write(start, CONTENT[start : start + MIB])
            partial.record(start, start + MIB)
    digest = world.downloader(store).fetch(world.file)
    assert content_of(store, digest) == CONTENT
    assert world.hub.journal.sent() <= len(CONTENT) - 2 * MIB


def test_attack_wrong_bytes_of_the_right_size_are_quarantined(world: World, store: Store) -> None:
    """Bytes that do not hash to what was declared never become a blob."""
    world.spoil()
    with pytest.raises(DigestMismatch):
        world.downloader(store).fetch(world.file)
    assert list(store.blobs()) == []
    assert len(list(store.paths.quarantine.glob("*.txt"))) >= 2


def test_interrupt_leaves_a_partial_that_the_next_run_completes(world: World, store: Store) -> None:
    """After Ctrl-C the lock is free, nothing is published, and the next run ends right."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.downloader(store, progress=Ledger(interrupt)).fetch(world.file)
    assert list(store.blobs()) == []
    with store.open_partial(world.file.key, world.file.size):
        pass
    assert content_of(store, world.downloader(store).fetch(world.file)) == CONTENT
    assert list(store.paths.partials.iterdir()) == []


def test_file_that_the_store_holds_is_not_brought_again(world: World, store: Store) -> None:
    """A blob that is there is enough."""
    first = world.downloader(store).fetch(world.file)
    world.hub.journal.clear()
    world.spoil()
    assert world.downloader(store).fetch(world.file) == first
    assert world.hub.journal.sent() == 0


def test_file_known_by_git_id_alone_is_checked_by_it(world: World, store: Store) -> None:
    """Without a declared sha256 the git blob id decides."""
    name = "config.json"
    file = publish(world.hub, {name: CONTENT}, "acme/git", lfs=())[name]
    assert file.sha256 is None
    digest = world.downloader(store).fetch(file)
    assert content_of(store, digest) == CONTENT
