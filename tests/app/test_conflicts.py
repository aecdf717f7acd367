"""One revision of one model has one content, whoever offers another."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelvault.app.vault import Vault
from modelvault.core.digest import Digest
from modelvault.core.names import Reference
from modelvault.errors import RevisionConflict
from tests.support.hub.hub import LoopbackHub
from tests.support.publishers import COMMIT, FILES, Publisher, take, trusting
from tests.support.pulls import forget_token, open_vault, pull_from

PINNED = f"acme/tiny@{COMMIT}"
OTHER = {**FILES, "model.safetensors": b"weights of B" * 100}


@pytest.fixture
def a(tmp_path: Path) -> Publisher:
    """The publisher whose model is here first."""
    return Publisher(root=tmp_path / "a")


@pytest.fixture
def b(tmp_path: Path) -> Publisher:
    """Another one, trusted as well."""
    return Publisher(root=tmp_path / "b")


@pytest.fixture
def root(tmp_path: Path, a: Publisher, b: Publisher) -> Path:
    """A vault that trusts both."""
    return trusting(tmp_path / "vault", a, b)


def named(root: Path, reference: str = PINNED) -> Digest:
    """Return what a reference means in a vault."""
    with Vault.open(root) as vault:
        return vault.catalog.find(Reference.parse(reference)).artifact.digest


def state(root: Path) -> tuple[int, int, str]:
    """Return how many artefacts and bundles are recorded, and the serials noted."""
    with Vault.open(root) as vault:
        recorded = len(vault.catalog.listing()), len(vault.catalog.bundles())
        return *recorded, (vault.store.paths.keys / "serials.json").read_text()


def test_second_trusted_publisher_cannot_replace_a_pinned_model(
    tmp_path: Path, root: Path, a: Publisher, b: Publisher
) -> None:
    """A full commit names the first content; the refusal shows both sides and the file."""
    first, second = a.make(FILES), b.make(OTHER)
    take(root, a.send(tmp_path / "one", first, serial=1))
    before = state(root)
    with pytest.raises(RevisionConflict) as caught:
        take(root, b.send(tmp_path / "two", second, serial=1))
    told = "\n".join(caught.value.issues)
    for part in (a.fingerprint, b.fingerprint, str(first.digest), str(second.digest)):
        assert part in told
    assert "model.safetensors differs" in told
    assert "config.json" not in told
    assert caught.value.exit_code == 5
    assert state(root) == before
    assert named(root) == first.digest


def test_same_publisher_cannot_change_a_pinned_model(
    tmp_path: Path, root: Path, a: Publisher
) -> None:
    """A commit never changes, whoever says so."""
    take(root, a.send(tmp_path / "one", serial=1))
    with pytest.raises(RevisionConflict):
        take(root, a.send(tmp_path / "two", a.make(OTHER), serial=2))


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": b"{}", "model-q8.safetensors": b"b"},
        {"CONFIG.JSON": b"{ }"},
    ],
)
def test_other_publisher_cannot_hide_a_pinned_model(
    tmp_path: Path, root: Path, a: Publisher, b: Publisher, files: Mapping[str, bytes]
) -> None:
    """Weights under another name, or a name in other case, are another content as well."""
    first = a.make(FILES)
    take(root, a.send(tmp_path / "one", first, serial=1))
    with pytest.raises(RevisionConflict):
        take(root, b.send(tmp_path / "two", b.make(files), serial=1))
    assert named(root) == first.digest


def test_bundle_that_contradicts_itself_is_refused(
    tmp_path: Path, root: Path, a: Publisher
) -> None:
    """Two contents of one revision in one bundle are a conflict before anything is here."""
    medium = a.send(tmp_path / "one", a.make(FILES), a.make(OTHER), serial=1)
    with pytest.raises(RevisionConflict):
        take(root, medium)
    with Vault.open(root) as vault:
        assert vault.catalog.listing() == []


def test_parts_of_one_revision_go_together(
    tmp_path: Path, root: Path, a: Publisher, b: Publisher
) -> None:
    """A larger or smaller selection is welcome from anyone, another one from who began."""
    take(root, a.send(tmp_path / "one", a.make(FILES), serial=1))
    more = b.make({**FILES, "README.md": b"# tiny"})
    take(root, b.send(tmp_path / "two", more, serial=1))
    less = b.make({"config.json": FILES["config.json"]})
    take(root, b.send(tmp_path / "three", less, serial=2))
    q4 = {name: a.make({f"{name}.gguf": b"x"}, name="acme/many") for name in ("Q4", "Q8")}
    take(root, a.send(tmp_path / "four", q4["Q4"], serial=2))
    assert take(root, a.send(tmp_path / "five", q4["Q8"], serial=3)).new


def test_conversion_is_replaced_by_who_brought_it_alone(
    tmp_path: Path, root: Path, a: Publisher, b: Publisher
) -> None:
    """Converting again gives other bytes; another publisher's do not take the name over."""
    variant = f"{PINNED}:Q4_K_M"
    take(root, a.send(tmp_path / "one", a.make({"m.gguf": b"1"}, variant="Q4_K_M"), serial=1))
    again = a.make({"m.gguf": b"2"}, variant="Q4_K_M")
    take(root, a.send(tmp_path / "two", again, serial=2))
    assert named(root, variant) == again.digest
    with pytest.raises(RevisionConflict):
        take(root, b.send(tmp_path / "three", b.make({"m.gguf": b"3"}, variant="Q4_K_M"), serial=1))
    assert named(root, variant) == again.digest


@pytest.mark.parametrize("large", [True, False])
def test_hub_that_moved_bytes_under_a_commit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    """A pull gives the same answer as an import, declared digests or not; nothing is recorded."""
    forget_token(monkeypatch, tmp_path)
    path = "model.safetensors" if large else "config.json"
    files = {"config.json": b"{}", "model.safetensors": b"w" * 70_000}
    with LoopbackHub() as hub, open_vault(tmp_path / "vault") as vault:
        commit = hub.add("acme/tiny", files).commits[-1].id
        first = pull_from(hub, vault, f"acme/tiny@{commit}").artifact
        moved = {**files, path: files[path].upper() + b" "}
        repository = hub.add("acme/tiny", moved)
        repository.commits[-1] = dataclasses.replace(repository.commits[-1], id=commit)
        with pytest.raises(RevisionConflict) as caught:
            pull_from(hub, vault, f"acme/tiny@{commit}")
        assert path in caught.value.message
        assert str(first.digest) in caught.value.issues[0]
        assert len(vault.catalog.listing()) == 1
