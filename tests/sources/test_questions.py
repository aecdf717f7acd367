"""Small questions: bounded in bytes, in silence and in whole time, and patient within that."""

import contextlib
import time
from typing import Any

import pytest

from modelvault.core.names import ModelName
from modelvault.errors import HubUnreachable, SourceError, SourceUnreachable
from modelvault.sources.fetch.http import speed_probe
from modelvault.sources.fetch.http.speed_probe import probe_speed
from modelvault.sources.hub import session
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions
from modelvault.sources.net.retry import Limits
from tests.sources.test_plain_home import described
from tests.support.downloads import QUICK
from tests.support.webserver import Server, reply

CONNECTION = Connection(limits=Limits(**QUICK))


def drip_body(exchange: Any) -> None:
    """Promise a long body, and send a byte of it now and then."""
    exchange.send_response(200)
    exchange.send_header("Content-Length", "1000000")
    exchange.end_headers()
    drip(exchange, b"x")


def drip_headers(exchange: Any) -> None:
    """Begin with headers, and never come to their end."""
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    drip(exchange, b"y")


def drip(exchange: Any, byte: bytes) -> None:
    """Send a byte every twentieth of a second, until nobody listens."""
    with contextlib.suppress(OSError):
        for _ in range(400):
            exchange.wfile.write(byte)
            exchange.wfile.flush()
            time.sleep(0.05)


@pytest.mark.parametrize("answer", [drip_body, drip_headers])
def test_attack_server_that_drips_bytes_cannot_hold_a_question_up(answer: Any) -> None:
    """It is never silent, and ends nevertheless: in the question's whole time."""
    began = time.monotonic()
    with (
        Server(answer) as server,
        Questions(CONNECTION) as questions,
        pytest.raises(SourceUnreachable, match="no answer that can be used"),
    ):
        questions.read(f"{server.url}/SHA256SUMS", limit=2_000_000, seconds=0.7)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("answer", [drip_body, drip_headers])
def test_attack_server_that_drips_bytes_cannot_hold_a_probe_up(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The speed of such a server is measured or is an error, within seconds."""
    monkeypatch.setattr(speed_probe, "WHOLE_SECONDS", 0.7)
    began = time.monotonic()
    with Server(answer) as server, contextlib.suppress(SourceUnreachable):
        probe_speed(described(server), CONNECTION)
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("no_token")
@pytest.mark.parametrize("answer", [drip_body, drip_headers])
def test_attack_hub_that_drips_bytes_cannot_hold_a_pull_up(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do the questions of the Hub's library wait for ever."""
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.7)
    began = time.monotonic()
    with Server(answer) as server:
        source = HubSource(ModelName.parse("acme/tiny"), None, Connection(endpoint=server.url))
        with pytest.raises(HubUnreachable, match="not whole after"):
            source.offer()
    assert time.monotonic() - began < 5


def test_answer_longer_than_its_limit_is_refused() -> None:
    """Nothing beyond it is kept in memory."""
    with (
        Server(lambda exchange: reply(exchange, 200, b"x" * 1001)) as server,
        Questions(CONNECTION) as questions,
    ):
        assert questions.read(server.url, limit=1001).content == b"x" * 1001
        with pytest.raises(SourceError, match="more than 1000 bytes"):
            questions.read(server.url, limit=1000)


def test_busy_server_is_asked_again_and_a_refusal_is_an_answer() -> None:
    """Waiting may help against 503, and never against 404."""
    statuses = iter([503, 429, 200, 404])
    with (
        Server(lambda exchange: reply(exchange, next(statuses), b"ok")) as server,
        Questions(CONNECTION) as questions,
    ):
        assert questions.read(server.url, limit=10).content == b"ok"
        assert questions.read(server.url, limit=10).status == 404
    assert len(server.seen) == 4


def test_head_says_where_a_file_is_and_how_long() -> None:
    """A redirect to another origin is told, not followed: the caller may ask there, unnamed."""
    token = Connection(token="hf_secret", limits=Limits(**QUICK))
    with Server(lambda exchange: reply(exchange, 200, b"12345")) as cdn:

        def redirect(exchange: Any) -> None:
            reply(exchange, 302, Location=f"{cdn.url}/blob")

        with Server(redirect) as server, Questions(token) as questions:
            away = questions.head(f"{server.url}/file").away
        assert away == f"{cdn.url}/blob"
        assert cdn.seen == []
        with Questions(CONNECTION) as questions:
            there = questions.head(away)
    assert (there.status, there.headers["Content-Length"], there.content) == (200, "5", b"")
    assert server.seen[0][2]["authorization"] == "Bearer hf_secret"


def test_server_that_asks_for_a_long_wait_is_not_waited_for() -> None:
    """The whole time bounds the waits, too."""
    began = time.monotonic()
    with (
        Server(lambda exchange: reply(exchange, 429, Retry_After="50")) as server,
        Questions(CONNECTION) as questions,
        pytest.raises(SourceUnreachable, match="429"),
    ):
        questions.read(server.url, limit=10, seconds=2.0)
    assert time.monotonic() - began < 2
