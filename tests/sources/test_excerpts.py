"""Parts of remote files: bounded together, patient, judged like a download."""

import os

import pytest

from modelvault.errors import FetchError, UpstreamChanged
from modelvault.sources.fetch.http.excerpts import WINDOW, Excerpts
from modelvault.sources.fetch.spent import ExcerptsSpent
from modelvault.sources.net.connection import Connection
from tests.support.downloads import KIB, publish
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

WEIGHTS = os.urandom(900 * KIB)
MOST = 10_000_000


def test_excerpt_reads_like_the_file(hub: LoopbackHub) -> None:
    """Whatever is asked for next comes, across windows, and nothing behind the end."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    with Excerpts(Connection(), most=MOST) as excerpts:
        stream = excerpts.open(file)
        parts = [stream.read(8), stream.read(WINDOW), stream.read(3), stream.read(100 * KIB)]
        assert b"".join(parts) == WEIGHTS[: 8 + WINDOW + 3 + 100 * KIB]
        assert stream.read() == WEIGHTS[8 + WINDOW + 3 + 100 * KIB :]
        assert stream.read(1) == b""
        assert excerpts.fetched == len(WEIGHTS)


def test_header_costs_a_window(hub: LoopbackHub) -> None:
    """One small range, however large the file."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    with Excerpts(Connection(), most=MOST) as excerpts:
        excerpts.open(file).read(8)
    ranges = [request.range for request in hub.journal.requests(origin="cdn")]
    assert ranges == [f"bytes=0-{WINDOW - 1}"]


def test_attack_of_a_header_without_end_is_cut_off(hub: LoopbackHub) -> None:
    """All excerpts share one allowance, whatever headers claim; nothing is asked beyond it."""
    files = publish(hub, {"a.safetensors": WEIGHTS, "b.safetensors": WEIGHTS})
    with Excerpts(Connection(), most=100 * KIB) as excerpts:
        excerpts.open(files["a.safetensors"]).read(80 * KIB)
        with pytest.raises(ExcerptsSpent):
            excerpts.open(files["b.safetensors"]).read(80 * KIB)
        assert excerpts.fetched == 80 * KIB


def test_excerpt_survives_a_busy_server_and_ignored_ranges(hub: LoopbackHub) -> None:
    """As the download itself would."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.CDN, status=503, times=1))
    hub.faults.add(Fault(kind=Kind.IGNORE_RANGE, stage=Stage.CDN, times=None))
    with Excerpts(Connection(), most=MOST) as excerpts:
        stream = excerpts.open(file)
        assert stream.read(20 * KIB) + stream.read(20 * KIB) == WEIGHTS[: 40 * KIB]


def test_excerpt_ends_when_no_byte_can_be_had(hub: LoopbackHub) -> None:
    """A few attempts, then an error that says what to check."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.DROP, stage=Stage.CDN, times=None))
    with Excerpts(Connection(), most=MOST) as excerpts, pytest.raises(FetchError):
        excerpts.open(file).read(8)


def test_attack_of_a_hub_that_swaps_the_file_is_noticed(hub: LoopbackHub) -> None:
    """An excerpt is judged by the same rules as the download."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.COMMIT, stage=Stage.RESOLVE, value="0" * 40, times=None))
    with Excerpts(Connection(), most=MOST) as excerpts, pytest.raises(UpstreamChanged):
        excerpts.open(file).read(8)
