"""The sample that a dry run measures: bounded, patient, and never kept."""

import os
from collections.abc import Iterator

import pytest

from modelvault.errors import FetchError, UpstreamChanged
from modelvault.sources.fetch.http.speed_probe import take_sample
from tests.support.downloads import KIB, publish
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

WEIGHTS = os.urandom(900 * KIB)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub."""
    with LoopbackHub() as hub:
        yield hub


def test_sample_is_the_beginning_and_no_more(hub: LoopbackHub) -> None:
    """One range, of the size asked for; its rate is size over seconds."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    sample = take_sample(file, token=None, most=300 * KIB)
    assert sample.size == 300 * KIB
    assert sample.rate == sample.size / sample.seconds
    assert [request.range for request in hub.journal.requests(origin="cdn")] == ["bytes=0-307199"]


def test_sample_of_a_small_file_is_all_of_it(hub: LoopbackHub) -> None:
    """Nothing beyond the end is asked for."""
    file = publish(hub, {"config.json": b"{}"})["config.json"]
    assert take_sample(file, token=None).size == 2


def test_sample_survives_a_busy_server_and_ignored_ranges(hub: LoopbackHub) -> None:
    """As the download itself would; a whole stream is cut off at the sample's size."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.CDN, status=503, times=1))
    hub.faults.add(Fault(kind=Kind.IGNORE_RANGE, stage=Stage.CDN, times=None))
    assert take_sample(file, token=None, most=100 * KIB).size == 100 * KIB


def test_sample_ends_when_no_byte_can_be_had(hub: LoopbackHub) -> None:
    """A few attempts, then an error that the dry run reports as a warning."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.DROP, stage=Stage.CDN, times=None))
    with pytest.raises(FetchError):
        take_sample(file, token=None, most=100 * KIB)


def test_attack_of_a_hub_that_swaps_the_file_is_noticed_by_the_sample(hub: LoopbackHub) -> None:
    """The sample is judged by the same rules as the download."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.COMMIT, stage=Stage.RESOLVE, value="0" * 40, times=None))
    with pytest.raises(UpstreamChanged):
        take_sample(file, token=None, most=100 * KIB)
