"""Lists of checksums as they are now, and following them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.app.pull import Pulled, plan_pull, pull
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.app.upstream import Difference, State, compare_upstream, find_branches, follow
from modelvault.app.vault import Vault
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import BadOption
from tests.support.fileserver import FileServer
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.pulls import open_vault
from tests.support.tls import Authority

FILES = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(70_000),
    "pytorch_model.bin": b"pickle",
    "tokenizer.json": b"tok",
}
TINY = Reference.parse("acme/tiny")


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """Return an empty vault on a machine without a login."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    with open_vault(tmp_path / "vault") as vault:
        yield vault


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return who vouches for the server."""
    return Authority(tmp_path / "ca", "site")


@pytest.fixture
def options(authority: Authority) -> SourceOptions:
    """Return what names the model and trusts the server."""
    return SourceOptions(name="acme/tiny", ca_bundle=authority.file)


@pytest.fixture
def server(authority: Authority) -> Iterator[FileServer]:
    """Return a server with one model, over https."""
    with FileServer(FILES, tls=authority.server_context()) as server:
        yield server


def pull_from(
    server: FileServer, vault: Vault, options: SourceOptions, **filters: list[str]
) -> Pulled:
    """Pull the server's model."""
    source = choose_source(server.url, options)
    both = {"include": (), "exclude": (), **filters}
    plan = plan_pull(source, vault.store.paths, include=both["include"], exclude=both["exclude"])
    return pull(vault, plan, Silence())


def test_list_that_says_the_same_is_unchanged_however_it_says_it(
    server: FileServer, vault: Vault, options: SourceOptions
) -> None:
    """One question, for the list; its order and form do not count."""
    artifact = pull_from(server, vault, options).artifact
    server.sums = b"# sorted\n" + b"".join(sorted(server.list().splitlines(keepends=True)))
    server.journal.clear()
    (found,) = compare_upstream(vault, (), options)
    assert (found.state, found.commit) == (State.UNCHANGED, artifact.revision)
    assert [request.path for request in server.journal.requests()] == ["SHA256SUMS"]


def test_list_that_moved_names_what_an_update_would_change(
    server: FileServer, vault: Vault, options: SourceOptions
) -> None:
    """Through the filters of the pull; no file is asked for."""
    pull_from(server, vault, options, exclude=["*.txt"])
    changed = {**FILES, "config.json": b"[]", "new.json": b"{}", "new.txt": b"x"}
    del changed["tokenizer.json"]
    server.publish(changed)
    server.journal.clear()
    (found,) = compare_upstream(vault, [TINY], options)
    assert found.state is State.MOVED
    assert found.difference == Difference(
        changed=("config.json",), added=("new.json",), removed=("tokenizer.json",)
    )
    assert {request.path for request in server.journal.requests()} == {"SHA256SUMS"}


def test_update_follows_the_list_and_fetches_what_is_new(
    server: FileServer, vault: Vault, options: SourceOptions
) -> None:
    """The list's name is the branch: it stands for the newest of it in the vault."""
    before = pull_from(server, vault, options, exclude=["tokenizer.json"]).artifact
    server.publish({**FILES, "config.json": b"[1]"})
    server.journal.clear()
    (branch,) = find_branches(vault, None)
    done = follow(vault, branch, options, Silence())
    assert done.before == before
    assert done.fetched == len(b"[1]")
    assert server.journal.sent(path="model.safetensors") == 0
    assert vault.manifest(done.after).find("tokenizer.json") is None
    newest = vault.catalog.find(Reference.parse("acme/tiny@SHA256SUMS")).artifact
    assert newest == done.after
    assert find_branches(vault, None) == (done.after,)
    assert follow(vault, done.after, options, Silence()).fetched == 0


def test_pinned_list_is_not_followed_and_is_gone_when_it_changes(
    server: FileServer, vault: Vault, authority: Authority, options: SourceOptions
) -> None:
    """Who pinned a list wants that one; over plain http there is no other way."""
    pinned = SourceOptions(name="acme/tiny", ca_bundle=authority.file, sums_digest=server.digest)
    pull_from(server, vault, pinned)
    assert find_branches(vault, None) == ()
    with pytest.raises(BadOption) as caught:
        find_branches(vault, TINY)
    assert f"modelvault pull {server.url} --as acme/tiny" in caught.value.hint
    (found,) = compare_upstream(vault, (), options)
    assert found.state is State.UNCHANGED
    server.publish({**FILES, "config.json": b"[1]"})
    (found,) = compare_upstream(vault, (), options)
    assert found.state is State.GONE
    assert "instead of sha256:" in found.reason


@pytest.mark.parametrize(
    ("status", "state"), [(404, State.GONE), (403, State.GONE), (418, State.UNKNOWN)]
)
def test_list_that_is_gone_is_told_from_a_server_in_trouble(
    server: FileServer, vault: Vault, options: SourceOptions, status: int, state: State
) -> None:
    """As for a Hub: closed is gone for us, and nonsense says nothing."""
    pull_from(server, vault, options)
    server.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, status=status, times=None))
    (found,) = compare_upstream(vault, (), options)
    assert found.state is state
    assert found.reason


def test_same_content_listed_anew_is_the_artefact_that_is_here(
    server: FileServer, vault: Vault, options: SourceOptions
) -> None:
    """Another spelling of the list, and no second artefact under one reference."""
    first = pull_from(server, vault, options)
    server.sums = b"".join(reversed(server.list().splitlines(keepends=True)))
    second = pull_from(server, vault, options)
    assert second.artifact == first.artifact
    assert not second.new
    assert len(list(vault.catalog.artifacts())) == 1
