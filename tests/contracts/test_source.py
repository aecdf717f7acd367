"""The promises of ``Source``, kept alike by the Hub, by folders, by web servers and by the fake."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from modelvault.core.digest import Digest
from modelvault.core.names import ModelName, check_path
from modelvault.core.ports import ProgressEvent, Silence
from modelvault.core.sums import SumsUrl
from modelvault.errors import BadPath, Corruption, FetchError, NotFound
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.folder.source import FolderSource
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.sources.selection import select
from modelvault.sources.source import Source, Unsized
from modelvault.sources.sums.source import SumsSource
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.fakes import FakeSource, UnsizedSource
from tests.support.fileserver import FileServer
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

TINY = ModelName.parse("acme/tiny")
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "empty.txt": b"",
    "model.safetensors": os.urandom(300_000),
    "sub folder/ünï code.json": b"[1]",
    "vocab.txt": b"a\nb\n",
}


class World(Protocol):
    """Where a source gets its files from, and what may happen there."""

    def source(self) -> Source:
        """Return a new source over ``FILES``."""

    def absent(self) -> Source:
        """Return a source that is not there."""

    def unsafe(self) -> Source:
        """Return a source that offers a file whose name is unsafe."""

    def spoil(self, path: str) -> None:
        """Replace the bytes of a file, behind the back of an offer already made."""


class HubWorld:
    """The Hub."""

    def __init__(self, hub: LoopbackHub) -> None:
        """Publish the files."""
        self.hub = hub
        hub.add("acme/tiny", FILES)
        hub.add("acme/unsafe", {"../evil.json": b"x", "config.json": b"{}"})

    def source(self) -> Source:
        """Return a new source over ``FILES``."""
        return HubSource(TINY, None, Connection(endpoint=self.hub.endpoint))

    def absent(self) -> Source:
        """Return a source of a repository that does not exist."""
        return HubSource(
            ModelName.parse("acme/absent"), None, Connection(endpoint=self.hub.endpoint)
        )

    def unsafe(self) -> Source:
        """Return a source of a repository with a path that leads out of it."""
        return HubSource(
            ModelName.parse("acme/unsafe"), None, Connection(endpoint=self.hub.endpoint)
        )

    def spoil(self, path: str) -> None:
        """Flip a byte in every answer from the CDN."""
        self.hub.faults.add(Fault(kind=Kind.CORRUPT, path=path, times=None))


class FolderWorld:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        """Write the files."""
        self.folder = folder
        for path, data in FILES.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        unsafe = folder.with_name("unsafe")
        unsafe.mkdir()
        (unsafe / "a:b").write_bytes(b"x")

    def source(self) -> Source:
        """Return a new source over ``FILES``."""
        return FolderSource(self.folder, TINY)

    def absent(self) -> Source:
        """Return a source over a folder that does not exist."""
        return FolderSource(self.folder / "absent", TINY)

    def unsafe(self) -> Source:
        """Return a source over a folder with a name other systems refuse."""
        return FolderSource(self.folder.with_name("unsafe"), TINY)

    def spoil(self, path: str) -> None:
        """Write other bytes into the file."""
        (self.folder / path).write_bytes(os.urandom(len(FILES[path])))


class SumsWorld:
    """A web server and its list of checksums."""

    def __init__(self, server: FileServer, unsafe: FileServer) -> None:
        """Take a server of ``FILES``, and another for the list that names what is unsafe."""
        self.server = server
        self.other = unsafe

    def source(self) -> Source:
        """Return a new source over ``FILES``."""
        return self._listed(self.server, self.server.url)

    def absent(self) -> Source:
        """Return a source whose list does not exist."""
        return self._listed(self.server, f"{self.server.url}.absent")

    def unsafe(self) -> Source:
        """Return a source whose list names a path that leads out of its folder."""
        return self._listed(self.other, self.other.url)

    def spoil(self, path: str) -> None:
        """Flip a byte in every answer with the file's content."""
        fault = Fault(kind=Kind.CORRUPT, stage=Stage.RESOLVE, method="GET", path=path, times=None)
        self.server.faults.add(fault)

    def _listed(self, server: FileServer, url: str) -> Source:
        pinned = Digest.parse(server.digest)
        return SumsSource(SumsUrl.parse(url), TINY, Connection(), pinned=pinned)


class FakeWorld:
    """The fake."""

    def __init__(self, kind: type[FakeSource] = FakeSource) -> None:
        """Know of no source yet."""
        self.kind = kind
        self.made: list[FakeSource] = []

    def source(self) -> Source:
        """Return a new source over ``FILES``."""
        self.made.append(self.kind(TINY, FILES))
        return self.made[-1]

    def absent(self) -> Source:
        """Return a source without files."""
        return self.kind(TINY, None)

    def unsafe(self) -> Source:
        """Return a source with an absolute path."""
        return self.kind(TINY, {"/etc/passwd": b"x"})

    def spoil(self, path: str) -> None:
        """Replace the bytes in every source made."""
        for source in self.made:
            assert source.files is not None
            source.files[path] = os.urandom(len(FILES[path]))


@pytest.fixture(params=["hub", "folder", "sums", "fake", "unsized"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Return each world in turn; no token comes from this machine."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    if request.param == "hub":
        with LoopbackHub() as hub:
            yield HubWorld(hub)
    elif request.param == "folder":
        yield FolderWorld(tmp_path / "tiny")
    elif request.param == "sums":
        with FileServer(FILES) as server, FileServer({"../evil.json": b"x"}) as unsafe:
            yield SumsWorld(server, unsafe)
    else:
        yield FakeWorld(UnsizedSource if request.param == "unsized" else FakeSource)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


class Ledger(Silence):
    """A ``Progress`` that adds up."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.open: set[str] = set()
        self.ended: list[str] = []
        self.bytes: dict[str, int] = {}
        self._mutex = threading.Lock()

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Note the beginning of a task that is not under way."""
        with self._mutex:
            assert task not in self.open
            self.open.add(task)
            self.bytes[task] = done

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Add bytes of a task that is under way."""
        with self._mutex:
            assert task in self.open
            self.bytes[task] += amount

    def end(self, task: str, *, note: str = "") -> None:
        """Note the end."""
        with self._mutex:
            self.open.remove(task)
            self.ended.append(task)


def test_offer_lists_every_file_sorted_safe_and_sized(world: World) -> None:
    """Nothing is missing, paths are sorted and safe, sizes are true once they are settled."""
    source = world.source()
    offer = source.offer()
    files = source.settle_sizes(offer.files) if isinstance(source, Unsized) else offer.files
    assert [(file.path, file.size) for file in files] == [
        (path, len(data)) for path, data in sorted(FILES.items())
    ]
    assert all(check_path(file.path) for file in offer.files)
    assert offer.model == TINY
    for file in offer.files:
        assert file.sha256 in (None, Digest.of(FILES[file.path]))


def test_offer_twice_is_the_same_offer(world: World) -> None:
    """An offer says what is there and changes nothing."""
    source = world.source()
    assert source.offer() == source.offer() == world.source().offer()


def test_delivery_brings_every_byte_and_its_digest(world: World, store: Store) -> None:
    """The store holds what the source holds, under the digests that are returned."""
    source = world.source()
    digests = deliver(source, store)
    assert dict(digests) == {path: Digest.of(data) for path, data in FILES.items()}
    for path, digest in digests.items():
        assert store.path(digest).read_bytes() == FILES[path]
    assert not list(store.paths.partials.glob("*.journal"))


def test_delivery_brings_what_is_selected_and_no_more(world: World, store: Store) -> None:
    """Only the files that were handed over enter the store."""
    source = world.source()
    offer = source.offer()
    chosen = select(offer.files, include=["*.txt"], exclude=[]).chosen
    digests = deliver(source, store, offer=offer, files=chosen)
    assert sorted(digests) == ["empty.txt", "vocab.txt"]
    assert {blob.digest for blob in store.blobs()} == set(digests.values())


def test_second_delivery_is_the_first_one(world: World, store: Store) -> None:
    """What is held stays as it is, and a new source says the same."""
    source = world.source()
    first = deliver(source, store)
    inodes = {blob.digest: store.path(blob.digest).stat().st_ino for blob in store.blobs()}
    again = world.source()
    assert deliver(again, store) == first
    assert inodes == {blob.digest: store.path(blob.digest).stat().st_ino for blob in store.blobs()}


def test_progress_adds_up(world: World, store: Store) -> None:
    """Every task that begins ends once, and the bytes of each file are told."""
    source = world.source()
    ledger = Ledger()
    deliver(source, store, ledger)
    assert not ledger.open
    for path, data in FILES.items():
        assert ledger.ended.count(path) == 1
        assert ledger.bytes[path] == len(data)


def test_other_bytes_than_offered_never_enter_the_store(world: World, store: Store) -> None:
    """Attack: the weights change between offer and delivery, size unchanged."""
    source = world.source()
    offer = source.offer()
    world.spoil("model.safetensors")
    with pytest.raises((FetchError, Corruption)):
        deliver(source, store, offer=offer)
    known = {Digest.of(data) for data in FILES.values()}
    assert {blob.digest for blob in store.blobs()} <= known
    assert not store.has(Digest.of(FILES["model.safetensors"]))


def test_absent_source_is_not_found(world: World) -> None:
    """Nothing there is an error of its own, before anything is fetched."""
    with pytest.raises(NotFound):
        world.absent().offer()


def test_unsafe_name_is_refused_when_it_is_chosen(world: World) -> None:
    """Attack: a name that leads out of a folder, or that other systems cannot hold."""
    offer = world.unsafe().offer()
    with pytest.raises(BadPath) as error:
        select(offer.files, include=[], exclude=[])
    assert len(error.value.issues) == 1
    assert "--exclude '" in error.value.hint


def test_unsafe_name_hinders_nobody_who_leaves_it_out(world: World) -> None:
    """By the very pattern that the refusal suggests."""
    offer = world.unsafe().offer()
    files = (*offer.files, OfferedFile(path="good.json", size=2))
    with pytest.raises(BadPath) as error:
        select(files, include=[], exclude=[])
    (pattern,) = re.findall(r"--exclude '([^']+)'", error.value.hint)
    chosen = select(files, include=[], exclude=[pattern]).chosen
    assert "good.json" in [file.path for file in chosen]
