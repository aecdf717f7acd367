"""The client below the Hub's library: bounded in time and in memory."""

import gzip
import time
from collections.abc import Callable

import httpx2
import pytest

from modelvault.errors import HubError, HubUnreachable, SourceUnreachable
from modelvault.sources.hub import session
from modelvault.sources.hub.session import PatientClient

Handler = Callable[[httpx2.Request], httpx2.Response]
URL = "https://hub.example/api"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that would have been slept."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def get(handler: Handler) -> httpx2.Response:
    """Return the answer that the client makes of a server's."""
    with PatientClient(transport=httpx2.MockTransport(handler), follow_redirects=True) as client:
        return client.get(URL, timeout=None)


def test_answer_is_passed_on_whole() -> None:
    """Status, headers, decoded body, request and redirects are those of the answer."""

    def serve(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/api":
            return httpx2.Response(307, headers={"Location": "/moved"})
        headers = {"Content-Encoding": "gzip", "Link": '<https://hub.example/2>; rel="next"'}
        return httpx2.Response(200, headers=headers, content=gzip.compress(b'{"a": 1}'))

    answer = get(serve)
    assert answer.json() == {"a": 1}
    assert answer.links["next"]["url"] == "https://hub.example/2"
    assert str(answer.request.url) == "https://hub.example/moved"
    assert [step.status_code for step in answer.history] == [307]


def test_every_request_has_a_time_limit() -> None:
    """The library asks for none; a server that goes silent would hold a pull for ever."""
    seen: list[dict[str, float]] = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.extensions["timeout"])
        return httpx2.Response(200)

    get(serve)
    assert all(seconds for seconds in seen[0].values())


def test_compressed_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: a small answer that unpacks to more than the limit."""
    monkeypatch.setattr(session, "ANSWER_LIMIT", 1_000_000)
    bomb = gzip.compress(bytes(2_000_000))
    assert len(bomb) < 10_000
    with pytest.raises(HubError, match="exceeds"):
        get(lambda _: httpx2.Response(200, headers={"Content-Encoding": "gzip"}, content=bomb))


@pytest.mark.parametrize(
    ("message", "hint", "attempts"),
    [("refused", "proxy", session.ATTEMPTS), ("CERTIFICATE_VERIFY_FAILED", "--ca-bundle", 1)],
)
def test_network_failure_says_what_to_check(
    message: str, hint: str, attempts: int, waits: list[float]
) -> None:
    """After the attempts that make sense, and with the cause of each in its hint."""

    def serve(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError(message)

    with pytest.raises(HubUnreachable, match=message) as error:
        get(serve)
    assert hint in error.value.hint
    assert len(waits) == attempts - 1
    assert waits == sorted(waits)


def test_refusals_that_are_answers_are_not_repeated(waits: list[float]) -> None:
    """A 404 is an answer."""
    assert get(lambda _: httpx2.Response(404)).status_code == 404
    assert waits == []


@pytest.mark.parametrize("tunnel", [True, False])
def test_proxy_that_wants_a_password_is_told_at_once(tunnel: bool, waits: list[float]) -> None:
    """407 comes as an error from a tunnel, as an answer without one; neither is repeated."""

    def serve(_: httpx2.Request) -> httpx2.Response:
        if tunnel:
            raise httpx2.ProxyError("407 Proxy Authentication Required")
        return httpx2.Response(407)

    with pytest.raises(SourceUnreachable, match="407") as error:
        get(serve)
    assert "USER:PASSWORD" in error.value.hint
    assert waits == []
