"""Whom the Hub's token is shown, and how it may be written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.errors import BadConfiguration, HubError
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.hub.hub import LoopbackHub
from tests.support.tls import Authority
from tests.support.webserver import Server, reply

pytestmark = pytest.mark.usefixtures("no_token")

TINY = ModelName.parse("acme/tiny")
TOKEN = "hf_kJ4sQpLmX2vN8wRt"
WEIGHTS = bytes(range(256)) * 300


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return the authority that signed the hub's certificate."""
    return Authority(tmp_path / "authority", "private-ca")


@pytest.fixture
def secure(authority: Authority) -> Iterator[LoopbackHub]:
    """Return a hub that speaks https, with a gated model that the token opens."""
    with LoopbackHub(tls=authority.server_context()) as hub:
        files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
        hub.add("acme/tiny", files, gated="manual", private=True)
        hub.grant(TOKEN, "acme/tiny")
        yield hub


def redirector(target: str) -> Server:
    """Return a server over http that sends everybody to the same path elsewhere."""

    def answer(exchange: Any) -> None:
        reply(exchange, 301, Location=f"{target}{exchange.path}")

    return Server(answer)


def shown(server: Server) -> list[str]:
    """Return the tokens that a server has seen."""
    return [headers["authorization"] for _, _, headers in server.seen if "authorization" in headers]


def test_endpoint_over_http_that_moved_to_https_opens_a_gated_model(
    secure: LoopbackHub, authority: Authority, store: Store
) -> None:
    """Metadata and bytes, with the token, and without showing it on the way there."""
    with redirector(secure.endpoint) as old:
        connection = Connection(endpoint=old.url, token=TOKEN, ca_bundle=authority.file)
        source = HubSource(TINY, None, connection)
        offer = source.offer()
        digests = deliver(source, store, offer=offer)
    assert digests["model.safetensors"] == Digest.of(WEIGHTS)
    assert old.seen
    assert shown(old) == []
    assert any(f"redirects to {secure.endpoint}" in note for note in offer.notes)
    assert not any(request.authorized for request in secure.journal.requests(origin="cdn"))


def test_attack_endpoint_that_redirects_to_another_host_does_not_get_the_token_there(
    secure: LoopbackHub, authority: Authority
) -> None:
    """A token is a host's; the user is told which endpoint to name."""
    elsewhere = secure.endpoint.replace("127.0.0.1", "localhost")
    with redirector(elsewhere) as old:
        connection = Connection(endpoint=old.url, token=TOKEN, ca_bundle=authority.file)
        with pytest.raises(HubError, match="does not get the token") as error:
            HubSource(TINY, None, connection).offer()
    assert "--endpoint https://" in error.value.hint
    assert shown(old) == []
    assert secure.journal.requests() == []


def test_endpoint_over_http_that_stays_there_is_used_as_it_is(hub: LoopbackHub) -> None:
    """A mirror in one's own network has no certificate; on this machine nobody is warned."""
    hub.add("acme/tiny", {"config.json": b"{}"}, private=True)
    token = hub.grant(TOKEN, "acme/tiny")
    offer = HubSource(TINY, None, Connection(endpoint=hub.endpoint, token=token)).offer()
    assert offer.notes == ()
    first, *rest = hub.journal.requests()
    assert not first.authorized
    assert all(request.authorized for request in rest)


def test_attack_next_page_on_another_server_does_not_see_the_token(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing says where it goes on; that is no reason to log in there."""
    hub.add("acme/tiny", {f"{number}.json": b"{}" for number in range(9)}, private=True)
    hub.page_size = 100
    token = hub.grant(TOKEN, "acme/tiny")
    with Server(lambda exchange: reply(exchange, 200, b"[]")) as other:
        endpoint = hub.endpoint
        monkeypatch.setattr(hub, "endpoint", other.url)  # what it names in its links
        HubSource(TINY, None, Connection(endpoint=endpoint, token=token)).offer()
    assert other.seen
    assert shown(other) == []


@pytest.mark.parametrize(
    "written", [f"'{TOKEN}'", f'"{TOKEN}"', f" {TOKEN}\n", f'"{TOKEN}"\r\n', f"\ufeff{TOKEN}"]
)
@pytest.mark.parametrize("place", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "file"])
def test_token_is_taken_out_of_its_quotes(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str, place: str
) -> None:
    """As an env file, a unit file or an editor leaves it."""
    hub.add("acme/tiny", {"config.json": b"{}"}, private=True)
    hub.grant(TOKEN, "acme/tiny")
    if place == "file":
        (tmp_path / "token").write_text(written, encoding="utf-8")
    else:
        monkeypatch.setenv(place, written)
    assert HubSource(TINY, None, Connection(endpoint=hub.endpoint)).offer().files


@pytest.mark.parametrize("written", [f"{TOKEN}\n{TOKEN}", f"{TOKEN} x", f"'{TOKEN}", "hf_\u00fc"])
def test_token_that_is_none_is_refused_unquoted(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """Two lines are two tokens, or none; the variable is named, its content is not."""
    monkeypatch.setenv("HF_TOKEN", written)
    with pytest.raises(BadConfiguration, match="HF_TOKEN") as error:
        HubSource(TINY, None, Connection(endpoint=hub.endpoint)).offer()
    assert "hf_" not in f"{error.value.message}{error.value.hint}"
    assert hub.journal.requests() == []
