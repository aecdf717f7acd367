"""Any short run of bad luck that ends, ends in the right bytes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelvault.sources.fetch.file import RemoteFile
from modelvault.store.blobs import Store
from tests.support.downloads import content_of, downloader, publish
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

SEGMENT = 20_000
CONTENTS = {
    "config.json": b"{}" * 500,
    "model.safetensors": bytes(range(251)) * 400,
    "small.safetensors": b"s" * 15_000,
}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[LoopbackHub, dict[str, RemoteFile]]]:
    """Return a running hub and its files."""
    with LoopbackHub() as hub:
        yield hub, publish(hub, CONTENTS)


def _faults(kinds: list[Kind], stage: Stage) -> st.SearchStrategy[Fault]:
    return st.builds(
        Fault,
        kind=st.sampled_from(kinds),
        stage=st.just(stage),
        path=st.sampled_from(["*", "model*", "small*"]),
        times=st.integers(1, 2),
        skip=st.integers(0, 5),
        after=st.integers(0, 25_000),
        seconds=st.just(0.01),
        status=st.sampled_from([400, 401, 403, 404, 408, 410, 416, 429, 500, 502, 503, 504]),
        value=st.just("other"),
    )


AT_CDN = [
    Kind.STATUS,
    Kind.DROP,
    Kind.DELAY,
    Kind.CUT,
    Kind.STALL,
    Kind.SHORT,
    Kind.OVERLONG,
    Kind.IGNORE_RANGE,
    Kind.ETAG,
]
AT_HUB = [Kind.DROP, Kind.DELAY, Kind.CUT, Kind.SHORT]


def _possible(schedule: list[Fault]) -> bool:
    """Rule out a chunk that ends early: its missing bytes would be made up of what follows."""
    kinds = {fault.kind for fault in schedule}
    return Kind.OVERLONG not in kinds or kinds.isdisjoint({Kind.CUT, Kind.STALL})


FAULT = st.one_of(_faults(AT_CDN, Stage.CDN), _faults(AT_HUB, Stage.RESOLVE))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    schedule=st.lists(FAULT, max_size=4).filter(_possible),
    connections=st.integers(1, 3),
    kept=st.lists(st.integers(0, 100_000), max_size=4),
)
def test_bad_luck_that_ends_ends_in_the_right_bytes(
    served: tuple[LoopbackHub, dict[str, RemoteFile]],
    schedule: list[Fault],
    connections: int,
    kept: list[int],
) -> None:
    """Whatever happens on the way, and whatever an earlier run left."""
    hub, files = served
    hub.faults.clear()
    hub.faults.add(*schedule)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder))
        model, data = files["model.safetensors"], CONTENTS["model.safetensors"]
        with store.open_partial(model.key, model.size) as partial:
            for start, end in zip(kept[::2], kept[1::2]):
                partial.write(start, data[start:end])
                partial.record(start, max(start, min(end, len(data))))
        limits = {"attempts": 20, "relocations": 20, "streams": 12, "read_timeout": 0.5}
        engine = downloader(store, limits=limits, connections=connections, segment=SEGMENT)
        digests = engine.fetch_all(list(files.values()))
        assert {path: content_of(store, digest) for path, digest in digests.items()} == CONTENTS
        assert list(store.paths.quarantine.iterdir()) == []
