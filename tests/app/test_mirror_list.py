"""Whole lists through the real client: resumed, pinned, repeated elsewhere, or refused."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.app.mirror_list import Mirrored, pull_list, read_mirror_list
from modelvault.app.outcomes import Failure, raise_worst
from modelvault.app.sources import SourceOptions
from modelvault.app.vault import Vault
from modelvault.core.digest import Digest
from modelvault.core.lockfile import encode_lock, parse_lock
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import (
    BadInput,
    HubUnreachable,
    MalformedRecord,
    RepositoryNotFound,
    RevisionNotFound,
    UpstreamChanged,
)
from tests.support.hub.hub import LoopbackHub
from tests.support.pulls import forget_token, open_vault, pull_from

FILES = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(70_000),
    "tokenizer.json": b"tok",
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with two models and a dataset."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES)
        hub.add("acme/other", {"config.json": b"[]", "model.safetensors": b"w" * 999})
        hub.add("datasets/acme/tiny", {"train.parquet": b"rows"})
        yield hub


@pytest.fixture(autouse=True)
def _no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_token(monkeypatch, tmp_path)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """Return an empty vault."""
    with open_vault(tmp_path / "vault") as vault:
        yield vault


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a list of three entries."""
    path = tmp_path / "models.txt"
    path.write_text("acme/tiny --exclude tokenizer.json\nacme/other\ndatasets/acme/tiny\n")
    return path


def run(
    hub: LoopbackHub, vault: Vault, path: Path, *, locked: bool = False
) -> tuple[tuple[Mirrored, ...], tuple[Failure, ...]]:
    """Pull a list as the command does."""
    mirror = read_mirror_list(path, locked=locked)
    options = SourceOptions(endpoint=hub.endpoint)
    return pull_list(vault, mirror, options, Silence(), lambda *_: None)


def lock_of(path: Path) -> Path:
    """Return where a list's lock file stands."""
    return path.with_name(f"{path.name}.lock")


def content(vault: Vault) -> set[tuple[str, Digest]]:
    """Return the identities of everything catalogued."""
    return {(str(item.artifact.reference), item.digest) for item in vault.catalog.artifacts()}


def test_list_is_pulled_and_pinned(hub: LoopbackHub, vault: Vault, models: Path) -> None:
    """Every commit, path, size and digest is in the lock file."""
    done, failures = run(hub, vault, models)
    assert failures == ()
    assert all(item.pulled is not None for item in done)
    pins = {str(pin.model): pin for pin in parse_lock(lock_of(models).read_bytes())}
    assert set(pins) == {"acme/tiny", "acme/other", "datasets.acme/tiny"}
    tiny = pins["acme/tiny"]
    assert tiny.commit == hub.repositories["acme/tiny"].branches["main"]
    assert [file.path for file in tiny.manifest.files] == ["config.json", "model.safetensors"]
    assert tiny.exclude == ("tokenizer.json",)


def test_second_run_asks_one_question_an_entry(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """Nothing moved: no tree is listed, nothing fetched, the lock file untouched."""
    run(hub, vault, models)
    before = lock_of(models).stat().st_mtime_ns
    hub.journal.clear()
    done, _ = run(hub, vault, models)
    assert all(item.pulled is None for item in done)
    assert len(hub.journal.requests()) == 3
    assert lock_of(models).stat().st_mtime_ns == before


def test_locked_and_held_needs_no_hub(hub: LoopbackHub, vault: Vault, models: Path) -> None:
    """A finished list is confirmed offline."""
    run(hub, vault, models)
    hub.journal.clear()
    done, failures = run(hub, vault, models, locked=True)
    assert failures == ()
    assert all(item.pulled is None for item in done)
    done, failures = run(hub, vault, lock_of(models))
    assert (len(done), failures) == (3, ())
    assert hub.journal.requests() == []


def test_pinned_commit_in_a_list_needs_no_hub_once_held(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """A commit cannot move, so there is nothing to ask."""
    models.write_text(f"acme/tiny@{hub.repositories['acme/tiny'].branches['main']}\n")
    run(hub, vault, models)
    hub.journal.clear()
    done, _ = run(hub, vault, models)
    assert done[0].pulled is None
    assert hub.journal.requests() == []


def test_lock_file_repeats_the_set_elsewhere_byte_for_byte(
    hub: LoopbackHub, vault: Vault, models: Path, tmp_path: Path
) -> None:
    """Though every branch has moved since: the same artefacts, by identity."""
    run(hub, vault, models)
    for name in ("acme/tiny", "acme/other"):
        hub.repositories[name].commit({"config.json": b"moved"})
    with open_vault(tmp_path / "elsewhere") as elsewhere:
        _, failures = run(hub, elsewhere, lock_of(models))
        assert failures == ()
        assert content(elsewhere) == content(vault)
        main = Reference.parse("acme/tiny@main")
        assert elsewhere.catalog.find(main).digest == vault.catalog.find(main).digest


def test_unlocked_run_follows_the_branches_and_pins_anew(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """Only what moved is pulled."""
    run(hub, vault, models)
    commit = hub.repositories["acme/other"].commit({"config.json": b"moved"})
    done, _ = run(hub, vault, models)
    assert [item.entry.subject for item in done if item.pulled] == ["acme/other@main"]
    pins = {str(pin.model): pin for pin in parse_lock(lock_of(models).read_bytes())}
    assert pins["acme/other"].commit == commit


def test_failed_entry_does_not_stop_the_others(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """All failures are told at the end; what was done is pinned, and a second run mends it."""
    models.write_text("acme/absent\nacme/tiny\nacme/other@absent\n")
    done, failures = run(hub, vault, models)
    assert [item.entry.subject for item in done] == ["acme/tiny@main"]
    assert [type(failure.error) for failure in failures] == [RepositoryNotFound, RevisionNotFound]
    assert [failure.label for failure in failures] == [
        "line 1: acme/absent@main",
        "line 3: acme/other@absent",
    ]
    assert len(parse_lock(lock_of(models).read_bytes())) == 1
    with pytest.raises(BadInput) as caught:
        run(hub, vault, models, locked=True)
    assert len(caught.value.issues) == 2
    hub.add("acme/absent", FILES)
    hub.repositories["acme/other"].tag("absent", hub.repositories["acme/other"].branches["main"])
    assert run(hub, vault, models)[1] == ()
    assert len(parse_lock(lock_of(models).read_bytes())) == 3


def test_worst_failure_decides_the_exit_status() -> None:
    """The highest status of all, with every failure in the issues."""
    failures = [
        Failure(subject="one", error=RepositoryNotFound("no one")),
        Failure(subject="two", error=HubUnreachable("no answer")),
    ]
    with pytest.raises(HubUnreachable) as caught:
        raise_worst(failures, total=5)
    assert caught.value.issues == ("one: no one", "two: no answer")
    raise_worst([], total=5)


def test_line_with_other_filters_than_pinned_is_not_locked(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """An edited line has to be pinned again before --locked takes it."""
    run(hub, vault, models)
    models.write_text("acme/tiny\nacme/other\n")
    with pytest.raises(BadInput) as caught:
        run(hub, vault, models, locked=True)
    assert caught.value.issues == ("line 1: acme/tiny@main",)
    run(hub, vault, models)
    assert len(parse_lock(lock_of(models).read_bytes())) == 2
    assert run(hub, vault, models, locked=True)[1] == ()


@pytest.mark.parametrize("change", ["digest", "size", "path", "small digest"])
def test_attack_of_a_hub_that_offers_something_else_is_refused(
    hub: LoopbackHub, vault: Vault, models: Path, tmp_path: Path, change: str
) -> None:
    """The lock file decides what enters; nothing else is recorded."""
    run(hub, vault, models)
    (pin, *_) = parse_lock(lock_of(models).read_bytes())
    config, weights = pin.manifest.files
    other = Digest.of(b"other")
    files: list[FileEntry] = {
        "digest": [config, dataclasses.replace(weights, digest=other)],
        "size": [dataclasses.replace(config, size=3), weights],
        "path": [dataclasses.replace(config, path="other.json"), weights],
        "small digest": [dataclasses.replace(config, digest=other), weights],
    }[change]
    altered = dataclasses.replace(pin, manifest=Manifest.of(files))
    lock = tmp_path / "altered.lock"
    lock.write_bytes(encode_lock([altered]))
    with open_vault(tmp_path / "elsewhere") as elsewhere:
        _, failures = run(hub, elsewhere, lock)
        assert [type(failure.error) for failure in failures] == [UpstreamChanged]
        assert content(elsewhere) == set()


def test_damaged_blob_makes_a_pinned_entry_be_pulled_again(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """Held means that every byte's blob is there, not that the catalogue says so."""
    done, _ = run(hub, vault, models)
    vault.store.remove(done[0].pin.manifest.files[1].digest)
    again, _ = run(hub, vault, models, locked=True)
    assert [item.pulled is None for item in again] == [False, True, True]
    assert vault.store.has(done[0].pin.manifest.files[1].digest)


def test_larger_artefact_in_the_vault_pins_what_the_line_selects(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """The lock file says what the line says, though the vault holds more."""
    pull_from(hub, vault, "acme/tiny")
    run(hub, vault, models)
    pin = parse_lock(lock_of(models).read_bytes())[1]
    assert str(pin.model) == "acme/tiny"
    assert len(pin.manifest.files) == 2


def test_bad_lines_are_told_before_anything_is_fetched(
    hub: LoopbackHub, vault: Vault, models: Path
) -> None:
    """Reading comes first, whole."""
    models.write_text("acme/tiny\nnonsense\nacme/other --bad\n")
    with pytest.raises(BadInput) as caught:
        run(hub, vault, models)
    assert len(caught.value.issues) == 2
    assert hub.journal.requests() == []


def test_damaged_or_absent_lock_file_is_named(hub: LoopbackHub, vault: Vault, models: Path) -> None:
    """It is never replaced silently, nor taken for empty."""
    with pytest.raises(BadInput):
        run(hub, vault, models, locked=True)
    with pytest.raises(BadInput):
        run(hub, vault, models.with_name("absent.txt"))
    lock_of(models).write_bytes(b"{}")
    with pytest.raises(MalformedRecord) as caught:
        run(hub, vault, models)
    assert str(lock_of(models)) in caught.value.message
