"""The limit on the bytes a second: counted on a clock that only moves when somebody waits."""

import heapq
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.errors import BadOption
from modelvault.sources.net.rate_limit import CREDIT, RateLimit, parse_rate
from modelvault.store.blobs import Store
from tests.support.downloads import KIB, content_of, downloader, publish
from tests.support.hub.hub import LoopbackHub


class Clock:
    """A clock that stands still until somebody rests."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._mutex = threading.Lock()

    def __call__(self) -> float:
        """Return the present time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self._mutex:
            self.now += seconds


def _simulate(rate: int, readers: int, seconds: float, *, most: int = 1 << 19) -> list[int]:
    """Return the bytes each reader got while all read as fast as they are let."""
    clock = Clock()
    limit = RateLimit(rate, clock=clock)
    began, got = clock.now, [0] * readers
    waiting = [(began, reader) for reader in range(readers)]
    while waiting:
        clock.now, reader = heapq.heappop(waiting)
        if clock.now - began >= seconds:
            continue
        waits: list[float] = []
        got[reader] += limit.take(most, waits.append)
        heapq.heappush(waiting, (clock.now + sum(waits) + 1e-6, reader))
    return got


@given(rate=st.integers(1000, 10**9), readers=st.integers(1, 64))
def test_limit_holds_over_all_connections_and_is_shared_fairly(rate: int, readers: int) -> None:
    """Never more than the limit and its credit; no reader gets more than a portion extra."""
    seconds = 8.0
    got = _simulate(rate, readers, seconds)
    portion = rate // 20
    assert sum(got) <= rate * (seconds + CREDIT) + portion * (readers + 1)
    assert max(got) - min(got) <= 2 * portion


def test_limit_is_used_up() -> None:
    """Who may have a megabyte a second gets it."""
    assert sum(_simulate(1_000_000, 3, 10.0)) >= 9_500_000


def test_time_when_nobody_reads_is_not_saved_up() -> None:
    """After an idle hour, only a quarter of a second may be caught up on."""
    clock = Clock()
    limit = RateLimit(1000, clock=clock)
    clock.sleep(3600)
    free = 0
    waits: list[float] = []
    while not waits:
        free += limit.take(50, waits.append)
    assert free <= 1000 * CREDIT + 100


def test_bytes_that_did_not_come_are_not_charged() -> None:
    """A slow server does not use up the limit of the others."""
    clock = Clock()
    limit = RateLimit(1000, clock=clock)
    for _ in range(100):
        limit.give_back(limit.take(50, clock.sleep))
    assert clock.now <= 1000.0 + 0.2


def test_no_limit_asks_for_nothing() -> None:
    """Everything at once, and the stall limit as it is."""
    limit = RateLimit(None)
    assert limit.take(1 << 30, lambda _: pytest.fail("made to wait")) == 1 << 30
    assert limit.least(60, 8, 65536) == 65536


def test_limited_connection_is_not_called_stalled() -> None:
    """What the limit leaves to each connection is above what the watchdog asks for."""
    assert RateLimit(8000).least(60, 8, 65536) * 2 <= 8000 / 8 * 60
    assert RateLimit(1).least(60, 64, 65536) == 0


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20MB", 20_000_000),
        ("1.5MiB", 1_572_864),
        ("500k", 500_000),
        ("500 kB/s", 500_000),
        ("1234", 1234),
        ("2GiB", 2 << 30),
    ],
)
def test_rate_is_read(text: str, rate: int) -> None:
    """Decimal and binary units."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "0.0MB", "-1", "1e9", "1 MB 2", "9" * 16])
def test_rate_that_makes_no_sense_is_refused(text: str) -> None:
    """No guess is made."""
    with pytest.raises(BadOption):
        parse_rate(text)


def test_limited_download_is_whole_and_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte that comes was handed out, and the waits add up to what the limit says."""
    clock = Clock()

    def limit(rate: int) -> RateLimit:
        return RateLimit(rate, clock=clock)

    def sleep(_: object, seconds: float) -> None:
        clock.sleep(seconds)

    monkeypatch.setattr("modelvault.sources.fetch.http.workers.RateLimit", limit)
    monkeypatch.setattr("modelvault.sources.net.cancel.Watchdog.sleep", sleep)
    data = bytes(range(256)) * 4000
    with LoopbackHub() as hub:
        file = publish(hub, {"model.safetensors": data})["model.safetensors"]
        store = Store.create(tmp_path / "vault")
        digest = downloader(store, connections=1, rate=100 * KIB).fetch(file)
    assert content_of(store, digest) == data
    assert clock.now - 1000.0 >= len(data) / (100 * KIB) - CREDIT - 0.1
