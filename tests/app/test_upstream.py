"""What the vault holds against the Hub as it is now, and following branches."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.app.sources import SourceOptions
from modelvault.app.upstream import Difference, State, compare_upstream, find_branches, follow
from modelvault.app.vault import Vault
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import BadOption
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub
from tests.support.pulls import forget_token, open_vault, pull_from

FILES = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(70_000),
    "pytorch_model.bin": b"pickle",
    "tokenizer.json": b"tok",
}
TINY = Reference.parse("acme/tiny")
OPTIONS = SourceOptions()


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with one model."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES)
        yield hub


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """Return an empty vault on a machine without a token."""
    forget_token(monkeypatch, tmp_path)
    with open_vault(tmp_path / "vault") as vault:
        yield vault


def test_unmoved_branch_is_unchanged_and_costs_one_question(hub: LoopbackHub, vault: Vault) -> None:
    """The commit alone says so; no tree is listed."""
    artifact = pull_from(hub, vault, "acme/tiny").artifact
    hub.journal.clear()
    (found,) = compare_upstream(vault, (), OPTIONS)
    assert (found.state, found.commit) == (State.UNCHANGED, artifact.revision)
    assert len(hub.journal.requests()) == 1


def test_moved_branch_names_what_an_update_would_change(hub: LoopbackHub, vault: Vault) -> None:
    """By content: LFS and small files alike; what the pull leaves out does not count."""
    pull_from(hub, vault, "acme/tiny")
    changed = {**FILES, "config.json": b"[]", "new.json": b"{}", "pytorch_model.bin": b"other"}
    del changed["tokenizer.json"]
    commit = hub.repositories["acme/tiny"].commit(changed)
    (found,) = compare_upstream(vault, [TINY], OPTIONS)
    assert (found.state, found.commit) == (State.MOVED, commit)
    assert found.difference == Difference(
        changed=("config.json",), added=("new.json",), removed=("tokenizer.json",)
    )


def test_comparison_looks_through_the_filters_of_the_pull(hub: LoopbackHub, vault: Vault) -> None:
    """Files that were never wanted are no difference."""
    pull_from(hub, vault, "acme/tiny", include=["config.json"])
    hub.repositories["acme/tiny"].commit({**FILES, "tokenizer.json": b"changed"})
    (found,) = compare_upstream(vault, (), OPTIONS)
    assert found.state is State.MOVED
    assert found.difference == Difference(changed=(), added=(), removed=())


def test_wanted_files_that_are_all_gone_are_a_difference(hub: LoopbackHub, vault: Vault) -> None:
    """The repository is still there: it moved, and an update would find nothing."""
    pull_from(hub, vault, "acme/tiny", include=["config.json"])
    hub.repositories["acme/tiny"].commit({"other.json": b"{}"})
    (found,) = compare_upstream(vault, (), OPTIONS)
    assert found.state is State.MOVED
    assert found.difference == Difference(changed=(), added=(), removed=("config.json",))


def test_attack_of_a_hub_with_unsafe_names_leaves_the_state_unknown(
    hub: LoopbackHub, vault: Vault
) -> None:
    """One hostile repository does not hide how the others stand."""
    pull_from(hub, vault, "acme/tiny")
    hub.repositories["acme/tiny"].commit({**FILES, "../x": b"{}"})
    (found,) = compare_upstream(vault, (), OPTIONS)
    assert found.state is State.UNKNOWN
    assert "../x" in found.reason


def test_deleted_closed_and_unreachable_are_told_apart(hub: LoopbackHub, vault: Vault) -> None:
    """A repository that is gone or closed is gone for us; a busy Hub says nothing."""
    hub.add("acme/closed", FILES)
    hub.add("acme/busy", FILES)
    for name in ("acme/tiny", "acme/closed", "acme/busy"):
        pull_from(hub, vault, name)
    del hub.repositories["acme/tiny"]
    hub.repositories["acme/closed"].private = True
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, status=418, skip=2, times=None))
    states = {str(item.artifact.model): item.state for item in compare_upstream(vault, (), OPTIONS)}
    assert states == {
        "acme/tiny": State.GONE,
        "acme/closed": State.GONE,
        "acme/busy": State.UNKNOWN,
    }


def test_pinned_commit_is_unchanged_though_the_branch_moved(hub: LoopbackHub, vault: Vault) -> None:
    """A commit cannot move; it can only vanish."""
    repository = hub.repositories["acme/tiny"]
    commit = repository.branches["main"]
    pull_from(hub, vault, f"acme/tiny@{commit}")
    repository.commit({**FILES, "new.json": b"{}"})
    (found,) = compare_upstream(vault, (), OPTIONS)
    assert found.state is State.UNCHANGED
    repository.commits.pop(0)
    (found,) = compare_upstream(vault, (), OPTIONS)
    assert found.state is State.GONE


def test_update_fetches_only_what_the_vault_lacks(hub: LoopbackHub, vault: Vault) -> None:
    """The new revision comes through the old filters; unchanged blobs are not asked for."""
    before = pull_from(hub, vault, "acme/tiny", exclude=["tokenizer.json"]).artifact
    commit = hub.repositories["acme/tiny"].commit({**FILES, "config.json": b"[1]"})
    hub.journal.clear()
    (branch,) = find_branches(vault, None)
    done = follow(vault, branch, OPTIONS, Silence())
    assert done.before == before
    assert done.after.revision == commit
    assert done.fetched == len(b"[1]")
    assert hub.journal.sent(path="model.safetensors") == 0
    assert vault.manifest(done.after).find("tokenizer.json") is None
    assert vault.catalog.find(Reference.parse("acme/tiny@main")).artifact == done.after
    assert [item.revision for item in find_branches(vault, None)] == [commit]
    assert follow(vault, done.after, OPTIONS, Silence()).fetched == 0


def test_asking_for_a_part_does_not_narrow_later_updates(hub: LoopbackHub, vault: Vault) -> None:
    """The filters of the whole artefact stay in force."""
    pull_from(hub, vault, "acme/tiny")
    pull_from(hub, vault, "acme/tiny", include=["config.json"])
    hub.repositories["acme/tiny"].commit({**FILES, "config.json": b"[1]"})
    (branch,) = find_branches(vault, TINY)
    after = follow(vault, branch, OPTIONS, Silence()).after
    assert len(vault.manifest(after).files) == 3


def test_what_cannot_move_cannot_be_followed(
    hub: LoopbackHub, vault: Vault, tmp_path: Path
) -> None:
    """A pinned commit is refused with a hint."""
    commit = hub.repositories["acme/tiny"].branches["main"]
    pull_from(hub, vault, f"acme/tiny@{commit}")
    with pytest.raises(BadOption) as caught:
        find_branches(vault, TINY)
    assert "modelvault pull acme/tiny" in caught.value.hint
    assert find_branches(vault, None) == ()
