"""Who asks a web server: what it is shown, over what, and to whom it is never shown."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.sums import SumsUrl
from modelvault.errors import AccessDenied, BadConfiguration, BadOption
from modelvault.sources.net.connection import Basic, Connection
from modelvault.sources.sums.netrc_login import find_login
from modelvault.sources.sums.source import SumsSource
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.fileserver import FileServer
from tests.support.tls import Authority

TINY = ModelName.parse("acme/tiny")
FILES = {"README.md": b"# Tiny", "config.json": b"{}", "model.gguf": bytes(300_000)}
BASIC = "Basic " + base64.b64encode(b"ann:hush").decode()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder; a token of the Hub stands in the environment."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_hush")
    return home


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return who vouches for the servers."""
    return Authority(tmp_path / "ca", "site")


@pytest.fixture
def private(home: Path, authority: Authority) -> Iterator[FileServer]:
    """Return a server that asks for ann's password, with its files on a storage."""
    tls = authority.server_context()
    with FileServer(FILES, login=BASIC, redirects=True, tls=tls) as server:
        yield server


def write_netrc(home: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file of logins."""
    path = home / ".netrc"
    path.write_text(text)
    path.chmod(mode)
    return path


def source_of(server: FileServer, authority: Authority, **options: Any) -> SumsSource:
    """Return the source of a server's list, over https."""
    connection = Connection(ca_bundle=authority.file, **options)
    return SumsSource(SumsUrl.parse(server.url), TINY, connection)


def shown(server: FileServer, origin: str) -> set[bool]:
    """Return whether an origin was shown a login, over all requests to it."""
    return {request.authorized for request in server.journal.requests(origin=origin)}


def test_login_of_netrc_opens_its_own_server_and_no_other(
    home: Path, private: FileServer, authority: Authority, store: Store
) -> None:
    """The storage that serves the bytes is never shown it."""
    write_netrc(home, "machine 127.0.0.1 login ann password hush\n")
    digests = deliver(source_of(private, authority), store)
    assert digests == {path: Digest.of(data) for path, data in FILES.items()}
    assert shown(private, "files") == {True}
    assert shown(private, "storage") == {False}


def test_token_opens_its_own_server_and_goes_before_netrc(
    home: Path, authority: Authority, store: Store
) -> None:
    """As a bearer: Artifactory's and a gateway's tokens."""
    write_netrc(home, "machine 127.0.0.1 login ann password other\n")
    tls = authority.server_context()
    with FileServer(FILES, login="Bearer hush", redirects=True, tls=tls) as server:
        deliver(source_of(server, authority, token="hush"), store)
        assert shown(server, "files") == {True}
        assert shown(server, "storage") == {False}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "machine other.example login ann password hush\n",
        "default login ann password hush\n",
        "machine 127.0.0.1 login ann\n",
    ],
)
def test_without_a_login_of_its_own_a_server_is_shown_nothing(
    home: Path, private: FileServer, authority: Authority, text: str
) -> None:
    """Neither the Hub's token nor another host's login; the hint says what would help."""
    write_netrc(home, text)
    with pytest.raises(AccessDenied) as caught:
        source_of(private, authority).offer()
    assert "~/.netrc" in caught.value.hint
    assert shown(private, "files") == {False}


def test_netrc_elsewhere_is_found_by_its_variable(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``NETRC``, as curl, requests and ftp know it."""
    write_netrc(home, "machine files.example login old password old\n").rename(tmp_path / "logins")
    assert find_login("files.example") is None
    monkeypatch.setenv("NETRC", str(tmp_path / "logins"))
    assert find_login("files.example") == Basic(user="old", password="old")


@pytest.mark.parametrize(
    ("text", "mode"),
    [("machine files.example login ann password hush\n", 0o644), ("machine a b hush\n", 0o600)],
    ids=["readable by others", "damaged"],
)
def test_netrc_that_cannot_be_used_is_named_and_not_quoted(
    home: Path, text: str, mode: int
) -> None:
    """What the parser stumbles over may be a password."""
    path = write_netrc(home, text, mode)
    with pytest.raises(BadConfiguration) as caught:
        find_login("files.example")
    assert str(path) in caught.value.message
    assert "hush" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"


def test_netrc_of_other_hosts_may_be_as_it_is(home: Path) -> None:
    """Who may read it matters where a password out of it would be sent."""
    write_netrc(home, "machine other.example login ann password hush\n", 0o644)
    assert find_login("files.example") is None


def test_plain_http_is_shown_no_login(home: Path, store: Store) -> None:
    """A pinned list may come in the clear; a password or token may not."""
    write_netrc(home, "machine 127.0.0.1 login ann password hush\n")
    with FileServer(FILES) as server:
        url, pinned = SumsUrl.parse(server.url), Digest.parse(server.digest)
        deliver(SumsSource(url, TINY, Connection(), pinned=pinned), store)
        assert shown(server, "files") == {False}
        with pytest.raises(BadOption, match="not sent over plain http"):
            SumsSource(url, TINY, Connection(token="hush"), pinned=pinned)


def test_neither_token_nor_password_shows_in_a_representation() -> None:
    """Whatever prints a connection prints no secret."""
    connection = Connection(token="hush", login=Basic(user="ann", password="hush"))
    assert "hush" not in repr(connection)
    assert connection.authorization == "Bearer hush"
    assert Connection(login=Basic(user="ann", password="hush")).authorization == BASIC
