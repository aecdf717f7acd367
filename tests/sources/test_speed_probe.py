"""The speed probe that a dry run measures: bounded, patient, and never kept."""

import os

import pytest

from modelvault.errors import FetchError, UpstreamChanged
from modelvault.sources.fetch.http.speed_probe import probe_speed
from modelvault.sources.net.connection import Connection
from tests.support.downloads import KIB, publish
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

WEIGHTS = os.urandom(900 * KIB)


def test_probe_is_the_beginning_and_no_more(hub: LoopbackHub) -> None:
    """One range, of the size asked for; its rate is size over seconds."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    speed = probe_speed(file, Connection(), most=300 * KIB)
    assert speed.size == 300 * KIB
    assert speed.rate == speed.size / speed.seconds
    assert [request.range for request in hub.journal.requests(origin="cdn")] == ["bytes=0-307199"]


def test_probe_of_a_small_file_is_all_of_it(hub: LoopbackHub) -> None:
    """Nothing beyond the end is asked for."""
    file = publish(hub, {"config.json": b"{}"})["config.json"]
    assert probe_speed(file, Connection()).size == 2


def test_probe_survives_a_busy_server_and_ignored_ranges(hub: LoopbackHub) -> None:
    """As the download itself would; a whole stream is cut off at the probe's size."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.CDN, status=503, times=1))
    hub.faults.add(Fault(kind=Kind.IGNORE_RANGE, stage=Stage.CDN, times=None))
    assert probe_speed(file, Connection(), most=100 * KIB).size == 100 * KIB


def test_probe_ends_when_no_byte_can_be_had(hub: LoopbackHub) -> None:
    """A few attempts, then an error that the dry run reports as a warning."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.DROP, stage=Stage.CDN, times=None))
    with pytest.raises(FetchError):
        probe_speed(file, Connection(), most=100 * KIB)


def test_attack_of_a_hub_that_swaps_the_file_is_noticed_by_the_sample(hub: LoopbackHub) -> None:
    """The probe is judged by the same rules as the download."""
    file = publish(hub, {"a.safetensors": WEIGHTS})["a.safetensors"]
    hub.faults.add(Fault(kind=Kind.COMMIT, stage=Stage.RESOLVE, value="0" * 40, times=None))
    with pytest.raises(UpstreamChanged):
        probe_speed(file, Connection(), most=100 * KIB)
