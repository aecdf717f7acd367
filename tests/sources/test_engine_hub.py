"""How the Hub lends access to its Xet storage, and engines chosen for a pull."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelvault.app.config import read_config
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.core.names import ModelName
from modelvault.distribution import install_command
from modelvault.errors import BadOption, SourceError
from modelvault.sources.fetch import choice
from modelvault.sources.fetch.engine import EngineFailed
from modelvault.sources.fetch.file import RemoteFile, read_xet_hash
from modelvault.sources.fetch.libraries.xet import HubAccess
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.downloads import commit_of, content_of, publish
from tests.support.engines import CONTENT, PATH, PATIENT, Notes, need_hf_transfer
from tests.support.hub.faults import Stage
from tests.support.hub.hub import LoopbackHub
from tests.support.xet import LocalCas

pytestmark = pytest.mark.usefixtures("no_token")


@pytest.fixture
def cas(tmp_path: Path) -> LocalCas:
    """Return an empty Xet storage."""
    return LocalCas(tmp_path / "cas")


@pytest.fixture
def questions() -> Iterator[Questions]:
    """Yield questions that show a token."""
    with Questions(Connection(token="hub-token", limits=PATIENT)) as questions:
        yield questions


@pytest.fixture
def file(hub: LoopbackHub, cas: LocalCas) -> RemoteFile:
    """Return a file that is on the hub and in the Xet storage."""
    return replace(publish(hub, {PATH: CONTENT})[PATH], xet_hash=cas.upload(CONTENT))


def test_hub_lends_a_token_for_its_own_and_no_other_origin(
    hub: LoopbackHub, questions: Questions
) -> None:
    """The permission is read from the headers."""
    hub.grant("hub-token", "acme/tiny")
    hub.cas = "https://cas.example"
    file = publish(hub, {PATH: CONTENT})[PATH]
    url = f"{hub.endpoint}/api/models/acme/tiny/xet-read-token/{commit_of(file)}"
    access = HubAccess(url, questions)()
    assert (access.cas, access.token) == ("https://cas.example", "lent-token")
    assert access.expires > time.time()
    assert "lent-token" not in repr(access)


@pytest.mark.parametrize(
    "cas", ["", "local:///etc", "file:///etc", "http://[", "https://a b\n", "x" * 9000]
)
def test_attack_storage_at_a_place_that_is_no_web_address_is_refused(
    hub: LoopbackHub, questions: Questions, cas: str
) -> None:
    """A hub cannot make the library read this machine's files."""
    hub.grant("hub-token", "acme/tiny")
    hub.cas = cas if "\n" not in cas else "https://a\tb"
    file = publish(hub, {PATH: b"x"})[PATH]
    url = f"{hub.endpoint}/api/models/acme/tiny/xet-read-token/{commit_of(file)}"
    with pytest.raises(EngineFailed, match="no Xet token"):
        HubAccess(url, questions)()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a" * 64, "a" * 64), ("A" * 64, None), ("a" * 63, None), (None, None), (7, None)],
)
def test_xet_hash_of_another_shape_is_ignored(value: object, expected: str | None) -> None:
    """The file then comes over HTTP."""
    assert read_xet_hash(value) == expected


def test_remote_file_with_a_malformed_xet_hash_is_refused(file: RemoteFile) -> None:
    """Nothing that is not a hash reaches the library."""
    with pytest.raises(SourceError):
        replace(file, xet_hash="../etc/passwd")


@pytest.mark.parametrize("engine", ["xet", "hf-transfer"])
def test_pull_from_the_hub_through_an_engine_delivers_everything(
    hub: LoopbackHub,
    store: Store,
    cas: LocalCas,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large files come through the engine, the small ones over HTTP."""
    if engine == "hf-transfer":
        need_hf_transfer()
    monkeypatch.setattr("modelvault.sources.fetch.libraries.xet._SCHEMES", frozenset({"local"}))
    hub.cas = cas.url
    files = {PATH: CONTENT, "config.json": b"{}"}
    hub.add("acme/tiny", files, xet_hashes={PATH: cas.upload(CONTENT)})
    source = HubSource(
        ModelName.parse("acme/tiny"), None, Connection(endpoint=hub.endpoint), engine=engine
    )
    notes = Notes()
    digests = deliver(source, store, notes)
    assert {path: content_of(store, digests[path]) for path in files} == files
    assert notes.notes == []
    asked = {request.path for request in hub.journal.requests() if request.stage is Stage.API}
    assert ("xet-read-token" in asked) == (engine == "xet")
    agents = {
        request.headers["user-agent"]
        for request in hub.journal.requests()
        if request.stage is Stage.CDN
    }
    assert bool(agents) == (engine == "hf-transfer")


def test_unknown_engine_is_refused() -> None:
    """The hint lists the names."""
    with pytest.raises(BadOption) as caught:
        choice.check_engine("ftp")
    assert caught.value.hint == "choose one of: http, xet, hf-transfer"


@pytest.mark.parametrize("name", ["xet", "hf-transfer"])
def test_engine_without_its_package_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the command."""
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    with pytest.raises(BadOption) as caught:
        choice.check_engine(name)
    assert caught.value.hint.endswith(f": {install_command(name)}")


def test_engine_that_cannot_keep_a_rate_is_refused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that would not be kept is not accepted."""
    monkeypatch.setattr(choice, "find_spec", lambda _: object())
    choice.check_engine("http", limited=True)
    with pytest.raises(BadOption, match="--limit-rate"):
        choice.check_engine("xet", limited=True)


def test_engine_named_in_the_settings_reaches_the_source(tmp_path: Path) -> None:
    """``[hub] engine`` is the default of ``--engine``, and as strictly looked at."""
    (tmp_path / "config.toml").write_text('[hub]\nengine = "ftp"\n')
    config = read_config(tmp_path / "config.toml", {})
    assert config.engine == "ftp"
    with pytest.raises(BadOption, match="there is no engine 'ftp'"):
        choose_source("acme/tiny", SourceOptions(engine=config.engine))
