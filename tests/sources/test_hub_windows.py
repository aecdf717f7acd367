"""The Hub's limits on requests: waited out, and never run into by listing."""

import time
from typing import Any

import pytest

from modelvault.core.names import ModelName
from modelvault.errors import HubUnreachable, SourceUnreachable
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions
from modelvault.sources.net.retry import Limits
from tests.support.downloads import QUICK
from tests.support.hub import answers
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub
from tests.support.webserver import Server, reply

TINY = ModelName.parse("acme/tiny")
WINDOW = {
    "RateLimit": '"api";r=0;t=289',
    "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
}


@pytest.fixture(autouse=True)
def waits(no_token: None, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that would have been slept."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.mark.parametrize("call", ["info", "tree"])
def test_window_is_waited_out_and_the_user_is_told(
    hub: LoopbackHub, waits: list[float], call: str
) -> None:
    """429 with 289 seconds to go is no failure: the pull goes on when the window opens."""
    hub.add("acme/tiny", {"config.json": b"{}"})
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, path=call, status=429, headers=WINDOW))
    told: list[str] = []
    source = HubSource(TINY, None, Connection(endpoint=hub.endpoint, tell=told.append))
    assert source.offer().files
    assert [int(wait) for wait in waits] == [289]
    assert len(told) == 1
    assert "limits requests: going on in 28" in told[0] or "in 290" in told[0]


def test_longer_than_a_window_is_told_instead_unless_many_are_asked(
    hub: LoopbackHub, waits: list[float]
) -> None:
    """A list would only fail item by item."""
    hub.add("acme/tiny", {"config.json": b"{}"})
    headers = {"Retry-After": "900"}
    busy = Fault(kind=Kind.STATUS, stage=Stage.API, path="info", status=429, headers=headers)
    hub.faults.add(busy)
    with pytest.raises(HubUnreachable, match="900"):
        HubSource(TINY, None, Connection(endpoint=hub.endpoint)).offer()
    assert waits == []
    hub.faults.add(busy)
    patient = Connection(endpoint=hub.endpoint, longest_wait=3600.0)
    assert HubSource(TINY, None, patient).offer().files
    assert [int(wait) for wait in waits] == [900]


def test_web_server_of_a_list_is_waited_for_beyond_a_questions_time() -> None:
    """Its whole time is for answers; what is asked for comes on top, where many are asked."""
    statuses = iter([429, 200, 429])

    def answer(exchange: Any) -> None:
        reply(exchange, next(statuses), b"ok", Retry_After="1")

    many = Connection(limits=Limits(**QUICK), longest_wait=3600.0)
    with Server(answer) as server, Questions(many) as questions:
        assert questions.read(server.url, limit=10, seconds=0.5).content == b"ok"
    with (
        Server(answer) as server,
        Questions(Connection(limits=Limits(**QUICK))) as questions,
        pytest.raises(SourceUnreachable, match="429"),
    ):
        questions.read(server.url, limit=10, seconds=0.5)


@pytest.mark.parametrize(
    ("siblings", "count"),
    [
        pytest.param("absent", 30_000, marks=pytest.mark.slow),
        ("all", 5_000),
        ("none", 5_000),
    ],
)
def test_thousands_of_files_take_few_requests(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, siblings: str, count: int
) -> None:
    """Whatever the description says of their number: a window has room for 500 requests."""
    hub.add("acme/tiny", {f"data/{number:05}.json": b"{}" for number in range(count)})
    answer = answers.model_info

    def describe(*arguments: Any, **options: Any) -> dict[str, Any]:
        info = answer(*arguments, **options)
        if siblings == "none":
            info["siblings"] = []
        elif siblings == "absent":
            info.pop("siblings", None)
        return info

    monkeypatch.setattr(answers, "model_info", describe)
    offer = HubSource(TINY, None, Connection(endpoint=hub.endpoint)).offer()
    assert len(offer.files) == count
    assert len(hub.journal.requests()) < 50 + count / 500
