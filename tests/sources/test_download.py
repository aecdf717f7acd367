"""The download engine against a hub that behaves, and what it does not have to do again."""

import os
import threading
import time

import pytest

from modelvault.core.digest import Digest
from modelvault.core.ports import ProgressEvent, Retried
from modelvault.errors import BadDigest, BadOption, DigestMismatch, NoSpace, SourceError
from modelvault.sources.fetch.file import GitBlob, OfferedFile, RemoteFile
from modelvault.sources.fetch.home import PlainHome
from modelvault.sources.net.urls import label_of, origin_of
from modelvault.store.blobs import Store
from tests.support.downloads import KIB, content_of, downloader, publish
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

MODEL = bytes(range(256)) * 2000
"""512,000 bytes: eight segments of the tests' size, the last one short."""


class Recorder:
    """A ``Progress`` that adds up."""

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.done: dict[str, int] = {}
        self.notes: dict[str, str] = {}
        self.retries: list[tuple[str, str]] = []
        self._mutex = threading.Lock()

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Take the announcement."""
        with self._mutex:
            self.totals[task] = total
            self.done[task] = done

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Add; keep the reason of a retry."""
        with self._mutex:
            self.done[task] += amount
            if isinstance(event, Retried):
                self.retries.append((task, event.reason))

    def end(self, task: str, *, note: str = "") -> None:
        """Keep the note."""
        with self._mutex:
            self.notes[task] = note


@pytest.mark.parametrize("mirror", [False, True], ids=["hub", "mirror"])
@pytest.mark.parametrize("connections", [1, 4])
def test_files_of_all_kinds_arrive_verified(
    hub: LoopbackHub, store: Store, connections: int, mirror: bool
) -> None:
    """LFS and plain files, empty ones and shared contents, with redirects or without."""
    hub.mirror = mirror
    contents = {
        "config.json": b'{"a": 1}',
        "empty.txt": b"",
        "empty.bin": b"",
        "copy/config.json": b'{"a": 1}',
        "model.safetensors": MODEL,
        "other.safetensors": MODEL[::-1],
    }
    files = publish(hub, contents)
    progress = Recorder()
    engine = downloader(store, connections=connections, progress=progress)
    digests = engine.fetch_all(list(files.values()))
    assert {path: content_of(store, digest) for path, digest in digests.items()} == contents
    assert progress.done == {path: len(data) for path, data in contents.items()}
    assert progress.notes.keys() == contents.keys()
    assert hub.journal.sent(path="model.safetensors") == len(MODEL)
    assert list(store.paths.quarantine.iterdir()) == []


@pytest.mark.parametrize("segment", [64 * KIB, 1024 * KIB], ids=["segments", "one request"])
def test_dataset_arrives_from_its_own_address(hub: LoopbackHub, store: Store, segment: int) -> None:
    """Datasets stand below ``/datasets``; everything else is the same."""
    contents = {"train.parquet": MODEL, "README.md": b"terms"}
    files = publish(hub, contents, name="datasets/acme/set", lfs=("*.parquet",))
    digests = downloader(store, segment=segment).fetch_all(list(files.values()))
    assert {path: content_of(store, digest) for path, digest in digests.items()} == contents
    targets = {request.target for request in hub.journal.requests(origin="hub")}
    assert {target.split("/resolve/")[0] for target in targets} == {"/datasets/acme/set"}


def test_small_files_behind_a_relative_redirect_arrive(hub: LoopbackHub, store: Store) -> None:
    """The real Hub sends small files by way of another path on its own origin."""
    hub.resolve_cache = True
    token = hub.grant("hf_secret", "acme/tiny")
    file = publish(hub, {"config.json": b"{}"}, private=True)["config.json"]
    assert content_of(store, downloader(store, token=token).fetch(file)) == b"{}"


def test_blob_that_is_there_is_not_fetched(hub: LoopbackHub, store: Store) -> None:
    """Not a single request for what the store holds."""
    store.put(MODEL)
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    assert downloader(store).fetch(file) == Digest.of(MODEL)
    assert hub.journal.requests() == []


def test_complete_partial_is_only_hashed(hub: LoopbackHub, store: Store) -> None:
    """Killed between the last byte and its publication, a file costs no request."""
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    with store.open_partial(file.key, file.size) as partial:
        partial.write(0, MODEL)
        partial.record(0, len(MODEL))
    assert content_of(store, downloader(store).fetch(file)) == MODEL
    assert hub.journal.requests() == []


def test_partial_is_continued(hub: LoopbackHub, store: Store) -> None:
    """Only what no journal vouches for comes over the network."""
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    with store.open_partial(file.key, file.size) as partial:
        for start in (0, 200_000):
            partial.write(start, MODEL[start : start + 100_000])
            partial.record(start, start + 100_000)
    progress = Recorder()
    digest = downloader(store, progress=progress).fetch(file)
    assert content_of(store, digest) == MODEL
    assert hub.journal.sent() == len(MODEL) - 200_000
    assert progress.done[file.path] == len(MODEL)


def test_attack_planted_partial_is_quarantined_then_fetched(hub: LoopbackHub, store: Store) -> None:
    """Bytes that somebody put on the disk are hashed like any others, and refused."""
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    with store.open_partial(file.key, file.size) as partial:
        partial.write(0, b"evil" * 25_000)
        partial.record(0, 100_000)
    assert content_of(store, downloader(store).fetch(file)) == MODEL
    assert len(list(store.paths.quarantine.glob("*[!t][!x][!t]"))) == 1


def test_second_puller_waits_for_the_first(hub: LoopbackHub, store: Store) -> None:
    """Who finds a file in other hands waits, says so, and then finds the blob."""
    recorder = Recorder()
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    results: list[Digest] = []
    with store.open_partial(file.key, file.size) as partial:
        puller = downloader(store, progress=recorder)
        thread = threading.Thread(target=lambda: results.append(puller.fetch(file)))
        thread.start()
        while not recorder.totals and thread.is_alive():
            time.sleep(0.01)
        assert "waiting for another process" in next(iter(recorder.totals))
        assert thread.is_alive()
        partial.write(0, MODEL)
        partial.record(0, len(MODEL))
        store.adopt(partial, Digest.of(MODEL), expected=file.sha256)
    thread.join(60)
    assert results == [Digest.of(MODEL)]
    assert hub.journal.requests() == []
    assert set(recorder.totals) == set(recorder.notes)  # whatever began has ended


def test_retries_are_told(hub: LoopbackHub, store: Store) -> None:
    """The progress hears of each new attempt, with its reason and without addresses."""
    recorder = Recorder()
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    hub.faults.add(Fault(kind=Kind.STATUS, status=503), Fault(kind=Kind.STATUS, status=403, skip=1))
    downloader(store, progress=recorder, connections=1).fetch(file)
    assert len(recorder.retries) == 2
    assert {task for task, _ in recorder.retries} == {"model.safetensors"}
    assert "503" in recorder.retries[0][1]
    assert not [reason for _, reason in recorder.retries if "Signature" in reason]


def test_too_little_space_is_told_before_the_first_request(
    hub: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files together are weighed; what an earlier run reserved counts as there."""
    files = publish(hub, {"a.safetensors": MODEL, "b.safetensors": MODEL[::-1]})
    monkeypatch.setattr("modelvault.fsio.space.free_bytes", lambda folder: 600_000)
    with pytest.raises(NoSpace, match="1024000 bytes are needed"):
        downloader(store).fetch_all(list(files.values()))
    assert hub.journal.requests() == []
    with store.open_partial(files["a.safetensors"].key, len(MODEL)):
        pass
    assert len(downloader(store).fetch_all(list(files.values()))) == 2


def test_attack_one_checksum_for_two_sizes_is_refused(hub: LoopbackHub, store: Store) -> None:
    """A listing that contradicts itself is not worth a request."""
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    other = RemoteFile(path="b", size=1, url=file.url, checksum=file.checksum, home=file.home)
    with pytest.raises(SourceError, match="same checksum"):
        downloader(store).fetch_all([file, other])


def test_attack_declared_empty_file_with_another_digest_is_refused(
    hub: LoopbackHub, store: Store
) -> None:
    """Even no bytes have a digest."""
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    empty = RemoteFile(path="a", size=0, url=file.url, checksum=file.checksum, home=file.home)
    with pytest.raises(DigestMismatch):
        downloader(store).fetch(empty)
    assert list(store.blobs()) == []


def test_more_bytes_than_declared_are_cut_off(hub: LoopbackHub, store: Store) -> None:
    """A file that lies about its size costs its declared size, and has the wrong digest."""
    file = publish(hub, {"config.json": b"0123456789"})["config.json"]
    short = RemoteFile(path="c", size=4, url=file.url, checksum=file.checksum, home=file.home)
    with pytest.raises(DigestMismatch):
        downloader(store).fetch(short)
    kept = [path for path in store.paths.quarantine.iterdir() if path.suffix != ".txt"]
    assert [path.read_bytes() for path in kept] == [b"0123", b"0123"]


def test_plain_file_with_a_wrong_git_id_is_refused(hub: LoopbackHub, store: Store) -> None:
    """Files outside LFS are checked as well: by git's own digest."""
    file = publish(hub, {"config.json": b"{}"})["config.json"]
    wrong = RemoteFile(path="c", size=2, url=file.url, checksum=GitBlob("0" * 40), home=file.home)
    with pytest.raises(DigestMismatch, match="git blob id"):
        downloader(store).fetch(wrong)
    assert list(store.blobs()) == []
    assert len(hub.journal.requests(stage=Stage.RESOLVE)) == 2


def test_file_without_a_checksum_is_refused() -> None:
    """What cannot be verified is not fetched."""
    url = "https://hub.example/acme/tiny/resolve/main/a"
    home, known = PlainHome(), GitBlob("0" * 40)
    with pytest.raises(SourceError, match="no checksum"):
        RemoteFile.of(OfferedFile(path="a", size=1), url=url, home=home)
    with pytest.raises(SourceError, match="size"):
        RemoteFile(path="a", size=-1, url=url, checksum=known, home=home)
    with pytest.raises(SourceError, match="how long"):
        RemoteFile.of(OfferedFile(path="a", size=None, checksum=known), url=url, home=home)
    with pytest.raises(BadDigest):
        GitBlob("0" * 39)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://", "ftp://h/x", "http://h:x/", ""])
def test_attack_url_of_another_scheme_is_refused(url: str) -> None:
    """Only HTTP, whatever a redirect says."""
    with pytest.raises(SourceError, match="not an HTTP URL"):
        origin_of(url)


def test_shown_urls_carry_no_secret() -> None:
    """User, password, query and control characters stay out of messages."""
    shown = label_of("https://user:pass@host/path\x1b[2J?Signature=abc#f")
    assert shown == "https://host/path?[2J"


def test_number_of_connections_is_bounded(store: Store) -> None:
    """None is not enough, a thousand is rude."""
    for connections in (0, 65):
        with pytest.raises(BadOption):
            downloader(store, connections=connections)


def test_segments_stay_within_the_budget(hub: LoopbackHub, store: Store) -> None:
    """Each request asks for one segment at most, and no byte twice."""
    file = publish(hub, {"model.safetensors": MODEL})["model.safetensors"]
    downloader(store, connections=2).fetch(file)
    ranges = [request.range for request in hub.journal.requests(origin="cdn")]
    expected = [
        f"bytes={start}-{min(start + 64 * KIB, len(MODEL)) - 1}"
        for start in range(0, len(MODEL), 64 * KIB)
    ]
    assert sorted(ranges, key=str) == sorted(expected)


def test_small_file_costs_no_partial(
    hub: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither journal nor lock: it is hashed in memory, then written once."""
    contents = {f"part-{number}.json": os.urandom(number * 100) for number in range(40)}
    files = publish(hub, contents)
    opened: list[str] = []

    def refuse(key: str, size: int, *, wait: float = 0.0) -> None:
        opened.append(key)

    monkeypatch.setattr(store, "open_partial", refuse)
    digests = downloader(store).fetch_all(list(files.values()))
    assert {path: content_of(store, digest) for path, digest in digests.items()} == contents
    assert opened == []


def test_small_file_goes_on_where_an_older_partial_stands(hub: LoopbackHub, store: Store) -> None:
    """What is on disk is used, and cleared away."""
    file = publish(hub, {"a.json": b"0123456789"})["a.json"]
    with store.open_partial(file.key, file.size) as partial:
        partial.write(0, b"01234")
        partial.record(0, 5)
    assert content_of(store, downloader(store).fetch(file)) == b"0123456789"
    assert hub.journal.sent() == 5
    assert list(store.paths.partials.iterdir()) == []


def test_attack_small_file_with_wrong_bytes_is_quarantined_twice(
    hub: LoopbackHub, store: Store
) -> None:
    """As with large ones: fetched once more, then refused; both lots are kept to look at."""
    file = publish(hub, {"a.safetensors": b"0123456789"})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.CORRUPT, after=3, times=None))
    with pytest.raises(DigestMismatch, match="sha256"):
        downloader(store).fetch(file)
    kept = [path for path in store.paths.quarantine.iterdir() if path.suffix != ".txt"]
    assert [path.read_bytes() for path in kept] == [b"012\xcc456789"] * 2
    assert list(store.paths.partials.iterdir()) == []
