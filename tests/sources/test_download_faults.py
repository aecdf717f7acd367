"""Each thing that goes wrong on the way, and what the download engine does about it."""

import errno
import os
import time
from typing import Any

import pytest

from modelvault.errors import (
    AccessDenied,
    DigestMismatch,
    DownloadFailed,
    GatedRepository,
    ModelVaultError,
    NoSpace,
    RepositoryNotFound,
    RevisionNotFound,
    SourceUnreachable,
    UpstreamChanged,
    VaultBusy,
)
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.http.location import Location, Stale
from modelvault.sources.net.cancel import Watchdog
from modelvault.sources.net.client import HttpClient
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.retry import Limits
from modelvault.store.blobs import Store
from modelvault.store.partials import Partial
from tests.support.downloads import KIB, QUICK, content_of, downloader, once_sent, publish
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

MODEL = bytes(range(256)) * 2000


@pytest.fixture
def file(hub: LoopbackHub) -> RemoteFile:
    """Return a file of eight segments on the hub."""
    return publish(hub, {"model.safetensors": MODEL})["model.safetensors"]


RECOVERABLE = {
    "dropped": Fault(kind=Kind.DROP, times=3),
    "dropped at the hub": Fault(kind=Kind.DROP, stage=Stage.RESOLVE, times=2),
    "cut": Fault(kind=Kind.CUT, after=10_000, times=5),
    "cut before the first byte": Fault(kind=Kind.CUT, after=0, times=5),
    "silent": Fault(kind=Kind.STALL, after=10_000, times=2),
    "short": Fault(kind=Kind.SHORT, after=7, times=6),
    "overlong": Fault(kind=Kind.OVERLONG, after=100_000, times=6),
    "shifted once": Fault(kind=Kind.SHIFT_RANGE, after=1),
    "ranges ignored once": Fault(kind=Kind.IGNORE_RANGE),
    "ranges ignored for ever": Fault(kind=Kind.IGNORE_RANGE, times=None),
    "another etag": Fault(kind=Kind.ETAG, value="other", times=None, skip=3),
    "etag back and forth": Fault(kind=Kind.ETAG, value="other", times=2, skip=1),
    "expired": Fault(kind=Kind.STATUS, status=403, times=3),
    "unauthorized": Fault(kind=Kind.STATUS, status=401),
    "gone": Fault(kind=Kind.STATUS, status=404),
    "gone for good": Fault(kind=Kind.STATUS, status=410),
    "bad request": Fault(kind=Kind.STATUS, status=400),
    "timeout": Fault(kind=Kind.STATUS, status=408, times=2),
    "too many": Fault(kind=Kind.STATUS, status=429, headers={"Retry-After": "0"}, times=4),
    "overloaded": Fault(kind=Kind.STATUS, status=503, times=4),
    "hub overloaded": Fault(kind=Kind.STATUS, status=502, stage=Stage.RESOLVE, times=3),
    "corrupt": Fault(kind=Kind.CORRUPT, after=5),
    **{
        f"no head, {status}": Fault(
            kind=Kind.STATUS, status=status, stage=Stage.RESOLVE, method="HEAD", times=None
        )
        for status in (400, 403, 404, 405, 406, 501)
    },
    "head broken off": Fault(kind=Kind.DROP, stage=Stage.RESOLVE, method="HEAD", times=None),
}


@pytest.mark.parametrize("fault", RECOVERABLE.values(), ids=RECOVERABLE.keys())
@pytest.mark.parametrize("connections", [1, 4])
def test_passing_fault_ends_in_the_right_bytes(
    hub: LoopbackHub, store: Store, file: RemoteFile, fault: Fault, connections: int
) -> None:
    """Whatever passes, passes unnoticed."""
    hub.faults.add(fault)
    limits = {"read_timeout": 1.0} if fault.kind is Kind.STALL else {}
    digest = downloader(store, connections=connections, limits=limits).fetch(file)
    assert content_of(store, digest) == MODEL
    assert hub.faults.pending == (1 if fault.times is None else 0)
    assert hub.journal.sent() < 12 * len(MODEL)


def test_ignored_ranges_cost_one_stream(hub: LoopbackHub, store: Store, file: RemoteFile) -> None:
    """A server without ranges sends the file once, to one connection."""
    hub.faults.add(Fault(kind=Kind.IGNORE_RANGE, times=None))
    downloader(store, connections=1).fetch(file)
    whole = [request for request in hub.journal.requests(origin="cdn") if request.range is None]
    assert len(whole) == 1


def test_stream_that_keeps_breaking_ends(hub: LoopbackHub, store: Store, file: RemoteFile) -> None:
    """Without ranges every attempt begins at zero: four are enough."""
    hub.faults.add(
        Fault(kind=Kind.IGNORE_RANGE, times=None), Fault(kind=Kind.CUT, after=100_000, times=None)
    )
    with pytest.raises(DownloadFailed, match=r"ends early|broke"):
        downloader(store).fetch(file)
    whole = [request for request in hub.journal.requests(origin="cdn") if request.range is None]
    assert len(whole) == 4


def test_attack_second_stream_cannot_replace_hashed_bytes(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """Bytes that were hashed are not written again: the digest speaks of what is there."""
    hub.faults.add(
        Fault(kind=Kind.IGNORE_RANGE, times=None),
        Fault(kind=Kind.CUT, after=300_000, skip=2),
        Fault(kind=Kind.CORRUPT, after=1000, skip=3),
    )
    digest = downloader(store, connections=1).fetch(file)
    assert content_of(store, digest) == MODEL
    assert list(store.paths.quarantine.iterdir()) == []


def test_wrong_bytes_twice_are_quarantined(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """One more try, then the error; both lots are kept as evidence."""
    hub.faults.add(Fault(kind=Kind.CORRUPT, after=5, times=None))
    with pytest.raises(DigestMismatch) as caught:
        downloader(store).fetch(file)
    assert caught.value.message.startswith("model.safetensors: its sha256 is ")
    assert "quarantine" in caught.value.hint
    assert len(list(store.paths.quarantine.glob("*.txt"))) == 2
    assert list(store.blobs()) == []


def test_expired_url_is_located_again_in_mid_file(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """The engine goes on where it was, with one question to the hub."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=1_000_000, times=None))
    expiry = once_sent(hub, len(MODEL) // 4, hub.expire_urls)
    digest = downloader(store, connections=2).fetch(file)
    expiry.join()
    assert content_of(store, digest) == MODEL
    assert len(hub.journal.requests(stage=Stage.RESOLVE, method="HEAD")) == 2
    assert hub.journal.sent() < len(MODEL) + 64 * KIB


def test_url_that_never_works_is_given_up(hub: LoopbackHub, store: Store, file: RemoteFile) -> None:
    """Five times the hub is asked again, not for ever."""
    hub.faults.add(Fault(kind=Kind.STATUS, status=403, times=None))
    with pytest.raises(DownloadFailed, match="answers 403"):
        downloader(store).fetch(file)
    assert len(hub.journal.requests(stage=Stage.RESOLVE)) == 6


def test_location_given_up_is_given_up_on_every_connection(
    hub: LoopbackHub, file: RemoteFile
) -> None:
    """A connection that has not heard of it yet asks nobody any more."""
    hub.faults.add(Fault(kind=Kind.STATUS, status=403, times=None))
    limits = Limits(**{**QUICK, "relocations": 1})
    watchdog = Watchdog(stall_window=limits.stall_window, stall_bytes=limits.stall_bytes)
    client = HttpClient(Connection(connections=1, limits=limits), watchdog)
    location = Location(file, client, limits, ahead=True)
    with pytest.raises(Stale):
        location.open(0, KIB)
    for _ in range(2):
        with pytest.raises(DownloadFailed, match="answers 403"):
            location.open(0, KIB)
    assert len(hub.journal.requests(stage=Stage.RESOLVE)) == 2
    client.close()


def _lose(hub: LoopbackHub, how: str) -> None:
    repository = hub.repositories["acme/tiny"]
    match how:
        case "gated":
            repository.gated = "manual"
        case "private":
            repository.private = True
        case "commit":
            repository.commits.clear()
        case "file":
            repository.commits[0].files.pop("model.safetensors")  # type: ignore[attr-defined]
    hub.expire_urls()


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("gated", GatedRepository),
        ("private", RepositoryNotFound),
        ("commit", RevisionNotFound),
        ("file", UpstreamChanged),
    ],
)
def test_lost_access_is_told_from_an_expired_url(
    hub: LoopbackHub, store: Store, file: RemoteFile, how: str, error: type[ModelVaultError]
) -> None:
    """The CDN says 403 either way; the hub's answer says why, and what came is kept."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=500_000, times=None))
    once_sent(hub, len(MODEL) // 4, lambda: _lose(hub, how))
    with pytest.raises(error):
        downloader(store, connections=1).fetch(file)
    with store.open_partial(file.key, file.size) as partial:
        assert 0 < partial.present.total < len(MODEL)


@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(("token", "error"), [(None, AccessDenied), ("hf_bad", AccessDenied)])
def test_refused_token_is_access_denied(
    hub: LoopbackHub, store: Store, path: str, token: str | None, error: type[ModelVaultError]
) -> None:
    """No second attempt against a closed door, and the token is not repeated."""
    contents = {"model.safetensors": MODEL, "config.json": b"{}"}
    file = publish(hub, contents, gated="manual")[path]
    with pytest.raises(error) as caught:
        downloader(store, token=token).fetch(file)
    assert "hf_bad" not in str(caught.value) + caught.value.hint
    assert len(hub.journal.requests()) <= 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=Kind.COMMIT, stage=Stage.RESOLVE, value="f" * 40),
        Fault(kind=Kind.LINKED_ETAG, stage=Stage.RESOLVE, value="e" * 64),
    ],
    ids=["commit", "linked etag"],
)
def test_changed_upstream_stops(
    hub: LoopbackHub, store: Store, file: RemoteFile, fault: Fault
) -> None:
    """The commit is pinned: another one is not what was asked for."""
    hub.faults.add(fault)
    with pytest.raises(UpstreamChanged, match=fault.value):
        downloader(store).fetch(file)
    assert hub.journal.requests(origin="cdn") == []


def test_change_while_fetching_stops(hub: LoopbackHub, store: Store, file: RemoteFile) -> None:
    """An entity tag that changes leads to the hub, and its answer decides."""
    hub.faults.add(
        Fault(kind=Kind.ETAG, value="other", skip=3),
        Fault(kind=Kind.LINKED_ETAG, stage=Stage.RESOLVE, value="e" * 64, skip=1),
    )
    with pytest.raises(UpstreamChanged):
        downloader(store, connections=1).fetch(file)
    with store.open_partial(file.key, file.size) as partial:
        assert partial.present.total == 3 * 64 * KIB


def test_other_length_upstream_stops(hub: LoopbackHub, store: Store) -> None:
    """The range's total is the file's declared size, or it is another file."""
    content = os.urandom(300_000)
    file = publish(hub, {"model.safetensors": content})["model.safetensors"]
    longer = RemoteFile(
        path=file.path,
        size=file.size + 1,
        url=file.url,
        checksum=file.checksum,
        home=file.home,
    )
    with pytest.raises(UpstreamChanged, match="bytes now, instead of 300001"):
        downloader(store).fetch(longer)


def test_server_that_asks_to_wait_is_obeyed(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """``Retry-After`` and ``RateLimit`` hold back every connection to that origin."""
    hub.faults.add(Fault(kind=Kind.STATUS, status=429, headers={"RateLimit": '"api";r=0;t=1'}))
    began = time.monotonic()
    downloader(store, connections=2).fetch(file)
    assert time.monotonic() - began >= 1.0


def test_server_that_asks_for_hours_is_left(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """Nobody sits before a frozen bar for a day: what came is kept, and the error says when."""
    headers = {"Retry-After": "86400"}
    hub.faults.add(Fault(kind=Kind.STATUS, status=503, headers=headers, times=None, skip=2))
    with pytest.raises(DownloadFailed, match="wait 86400 seconds"):
        downloader(store, connections=1).fetch(file)


def test_endless_trouble_ends(hub: LoopbackHub, store: Store, file: RemoteFile) -> None:
    """A server that never recovers is asked a bounded number of times."""
    hub.faults.add(Fault(kind=Kind.STATUS, status=500, times=None))
    with pytest.raises(DownloadFailed, match="answers 500"):
        downloader(store, connections=1, limits={"attempts": 4}).fetch(file)
    assert len(hub.journal.requests(origin="cdn")) == 5


def test_attack_one_byte_an_answer_does_not_last_for_ever(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """A crumb is no progress: only enough bytes make the count start again."""
    hub.faults.add(Fault(kind=Kind.CUT, after=1, times=None))
    with pytest.raises(DownloadFailed):
        downloader(store, connections=1).fetch(file)
    assert len(hub.journal.requests(origin="cdn")) < 12


def test_trouble_with_progress_does_not_end(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """A bad line that moves on is borne for as long as it takes."""
    hub.faults.add(Fault(kind=Kind.CUT, after=20_000, times=None))
    limits = {"attempts": 2, "progress": 20_000}
    assert content_of(store, downloader(store, limits=limits).fetch(file)) == MODEL


def test_dripping_connection_is_cut(hub: LoopbackHub, store: Store, file: RemoteFile) -> None:
    """A byte now and then keeps no connection alive."""
    hub.faults.add(Fault(kind=Kind.SLOW, rate=200))
    limits = {"stall_window": 0.5, "stall_bytes": 10_000}
    digest = downloader(store, connections=1, limits=limits).fetch(file)
    assert content_of(store, digest) == MODEL
    segments = -(-len(MODEL) // (64 * 1024))
    assert len(hub.journal.requests(origin="cdn", method="GET")) > segments


def test_unreachable_hub_is_told(store: Store, hub: LoopbackHub, file: RemoteFile) -> None:
    """Nobody listens: another error than a broken transfer."""
    url = "http://127.0.0.1:9/acme/tiny/resolve/main/model.safetensors"
    gone = RemoteFile(path="a", size=9, url=url, checksum=file.checksum, home=file.home)
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:9"):
        downloader(store, limits={"attempts": 2}).fetch(gone)


def test_one_lost_file_does_not_keep_the_others(hub: LoopbackHub, store: Store) -> None:
    """What can come comes; the error names everything that did not."""
    contents = {f"{name}.safetensors": os.urandom(100_000) for name in "abcd"}
    files = publish(hub, contents)
    hub.faults.add(
        *(Fault(kind=Kind.STATUS, status=500, path=f"{name}.*", times=None) for name in "bd")
    )
    with pytest.raises(DownloadFailed) as caught:
        downloader(store, limits={"attempts": 1}).fetch_all(list(files.values()))
    assert sorted(issue.partition(":")[0] for issue in caught.value.issues) == [
        "b.safetensors",
        "d.safetensors",
    ]
    assert all(store.has(files[f"{name}.safetensors"].sha256) for name in "ac")  # type: ignore[arg-type]
    hub.faults.clear()
    assert len(downloader(store).fetch_all(list(files.values()))) == 4


def test_full_disk_keeps_what_came(
    hub: LoopbackHub, store: Store, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up ends the download, which goes on later from there."""
    written = Partial.write

    def write(self: Partial, offset: int, data: Any) -> None:
        if offset >= 256 * KIB:
            raise NoSpace(os.strerror(errno.ENOSPC))
        written(self, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(Partial, "write", write)
        with pytest.raises(NoSpace):
            downloader(store, connections=1).fetch(file)
    with store.open_partial(file.key, file.size) as partial:
        assert partial.present.total == 256 * KIB
    hub.journal.clear()
    assert content_of(store, downloader(store).fetch(file)) == MODEL
    assert hub.journal.sent() == len(MODEL) - 256 * KIB


def test_failing_flush_vouches_for_nothing(
    hub: LoopbackHub, store: Store, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that could not be made durable are in no journal."""

    def fdatasync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", fdatasync)
        with pytest.raises(NoSpace):
            downloader(store).fetch(file)
    with store.open_partial(file.key, file.size) as partial:
        assert partial.present.total == 0


def test_partial_in_other_hands_for_too_long_is_busy(
    hub: LoopbackHub, store: Store, file: RemoteFile
) -> None:
    """The wait for another process ends, too."""
    with store.open_partial(file.key, file.size), pytest.raises(VaultBusy):
        downloader(store, patience=0.3).fetch(file)


def test_slow_line_is_journalled_on_the_way(
    hub: LoopbackHub, store: Store, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the middle of a long segment does not cost all of it."""
    recorded: list[int] = []
    record_all = Partial.record_all

    def record(self: Partial, ranges: list[tuple[int, int]]) -> None:
        record_all(self, ranges)
        recorded.append(self.present.total)

    monkeypatch.setattr(Partial, "record_all", record)
    monkeypatch.setattr("modelvault.sources.fetch.http.transfer._OFTEN", 0.05)
    monkeypatch.setattr("modelvault.sources.net.body._SWEEP", 0.02)
    hub.faults.add(Fault(kind=Kind.SLOW, rate=1_000_000))
    downloader(store, connections=1, segment=1024 * KIB).fetch(file)
    assert len(recorded) >= 3
    assert recorded == sorted(recorded)
