"""Lists that hold lists of checksums: pinned, repeated elsewhere, refused when they changed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.app.mirror_list import Mirrored, pull_list, read_mirror_list
from modelvault.app.outcomes import Failure
from modelvault.app.sources import SourceOptions
from modelvault.app.upstream import update
from modelvault.app.vault import Vault
from modelvault.core.lockfile import parse_lock
from modelvault.core.ports import Silence
from modelvault.errors import UpstreamChanged
from tests.support.fileserver import FileServer
from tests.support.hub.hub import LoopbackHub
from tests.support.pulls import forget_token, open_vault
from tests.support.tls import Authority

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(70_000), "notes.txt": b"x"}


@pytest.fixture(autouse=True)
def _no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_token(monkeypatch, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return who vouches for the server."""
    return Authority(tmp_path / "ca", "site")


@pytest.fixture
def server(authority: Authority) -> Iterator[FileServer]:
    """Return a server with one model, over https."""
    with FileServer(FILES, tls=authority.server_context()) as server:
        yield server


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a hub with one model, which opens to a token."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", {"config.json": b"[]"}, private=True)
        hub.tokens["hf_hush"] = {"acme/tiny"}
        yield hub


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """Return an empty vault."""
    with open_vault(tmp_path / "vault") as vault:
        yield vault


@pytest.fixture
def options(tmp_path: Path, hub: LoopbackHub, authority: Authority) -> SourceOptions:
    """Return options with a token of the Hub."""
    token = tmp_path / "token-file"
    token.write_text("hf_hush\n")
    return SourceOptions(endpoint=hub.endpoint, token_file=token, ca_bundle=authority.file)


@pytest.fixture
def models(tmp_path: Path, server: FileServer) -> Path:
    """Return a list of a Hub's model and a web server's."""
    path = tmp_path / "models.txt"
    path.write_text(f"acme/tiny\n{server.url} --as acme/web --exclude '*.txt'\n")
    return path


def run(
    vault: Vault, path: Path, options: SourceOptions, *, locked: bool = False
) -> tuple[tuple[Mirrored, ...], tuple[Failure, ...]]:
    """Pull a list as the command does."""
    mirror = read_mirror_list(path, locked=locked)
    return pull_list(vault, mirror, options, Silence(), lambda *_: None)


def lock_of(path: Path) -> Path:
    """Return where a list's lock file stands."""
    return path.with_name(f"{path.name}.lock")


def test_list_of_both_kinds_is_pinned_and_the_token_stays_the_hub_s(
    vault: Vault, models: Path, options: SourceOptions, server: FileServer
) -> None:
    """Attack: a web server in the list would like to see the Hub's token."""
    done, failures = run(vault, models, options)
    assert failures == ()
    assert [item.entry.subject for item in done] == ["acme/tiny@main", "acme/web@SHA256SUMS"]
    pins = {str(pin.model): pin for pin in parse_lock(lock_of(models).read_bytes())}
    assert pins["acme/tiny"].sums is None
    sums = pins["acme/web"].sums
    assert sums is not None
    assert (str(sums.url), str(sums.digest)) == (server.url, server.digest)
    paths = [file.path for file in pins["acme/web"].manifest.files]
    assert paths == ["config.json", "model.safetensors"]
    assert not any(request.authorized for request in server.journal.requests())
    update(vault, None, options, Silence())
    assert not any(request.authorized for request in server.journal.requests())


def test_list_that_did_not_move_costs_one_question(
    vault: Vault, models: Path, options: SourceOptions, server: FileServer
) -> None:
    """As a branch does at the Hub; and none where a digest pins it."""
    run(vault, models, options)
    server.journal.clear()
    done, _ = run(vault, models, options)
    assert [item.pulled for item in done] == [None, None]
    assert [request.path for request in server.journal.requests()] == ["SHA256SUMS"]
    models.write_text(f"{server.url} --as acme/web --sums-digest {server.digest}\n")
    run(vault, models, options)
    server.journal.clear()
    done, _ = run(vault, models, options)
    assert [item.pulled for item in done] == [None]
    assert server.journal.requests() == []


def test_lock_file_alone_brings_the_same_record_elsewhere(
    tmp_path: Path, vault: Vault, models: Path, options: SourceOptions, server: FileServer
) -> None:
    """Bytes, revision and origin: the artefact has one identity."""
    run(vault, models, options)
    here = {item.artifact.reference: item.digest for item in vault.catalog.artifacts()}
    with open_vault(tmp_path / "other") as other:
        done, failures = run(other, lock_of(models), options)
        assert failures == ()
        assert all(item.pulled is not None for item in done)
        there = {item.artifact.reference: item.digest for item in other.catalog.artifacts()}
    assert there == here


def test_locked_list_that_changed_is_refused_and_nothing_recorded(
    tmp_path: Path, vault: Vault, models: Path, options: SourceOptions, server: FileServer
) -> None:
    """A list has no past to ask for: what was locked is there, or it is not."""
    run(vault, models, options)
    server.publish({**FILES, "config.json": b"[1]"})
    with open_vault(tmp_path / "other") as other:
        _, (failure,) = run(other, models, options, locked=True)
        assert isinstance(failure.error, UpstreamChanged)
        names = [str(item.artifact.model) for item in other.catalog.artifacts()]
    assert names == ["acme/tiny"]
    done, failures = run(vault, models, options)  # followed, where nothing is locked
    assert failures == ()
    assert done[1].pulled is not None
    assert done[1].pulled.plan.to_fetch == len(b"[1]")


def test_other_list_under_the_same_name_is_not_what_was_pinned(
    vault: Vault, models: Path, options: SourceOptions, authority: Authority
) -> None:
    """The line names another server: its pin is not the old one's."""
    run(vault, models, options)
    with FileServer(FILES, tls=authority.server_context()) as moved:
        models.write_text(f"{moved.url} --as acme/web --exclude '*.txt'\n")
        assert read_mirror_list(models, locked=False).entries[0].pin is None
        done, failures = run(vault, models, options)
    assert failures == ()
    (pin,) = parse_lock(lock_of(models).read_bytes())
    assert done[0].pin == pin
    assert pin.sums is not None
    assert str(pin.sums.url) == moved.url
