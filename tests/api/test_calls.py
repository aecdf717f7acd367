"""What programs hand over is read as the command line reads it, and a little more kindly."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelvault
from modelvault.api import Pulled, Reference, Vault
from modelvault.core.ports import ProgressEvent
from tests.support.hub.hub import LoopbackHub
from tests.support.pulls import forget_token

pytestmark = pytest.mark.memory

FILES = {
    "config.json": b"{}",
    "README.md": b"---\nlicense: mit\n---\n# tiny\n",
    "model.safetensors": bytes(range(256)) * 300,
    "tokenizer.json": b'{"model": {}}',
}


class Heard:
    """A ``Progress`` as a program writes one, which remembers."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.begun: list[str] = []
        self.bytes = 0

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Remember a task."""
        self.begun.append(task)

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Count bytes."""
        self.bytes += amount

    def end(self, task: str, *, note: str = "") -> None:
        """Ignore an end."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A hub with one small model."""
    forget_token(monkeypatch, tmp_path)
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES)
        yield hub


@pytest.fixture
def vault(tmp_path: Path, hub: LoopbackHub) -> Iterator[Vault]:
    """An empty vault whose settings name the hub."""
    root = tmp_path / "vault"
    root.mkdir()
    (root / "config.toml").write_text(f'[hub]\nendpoint = "{hub.endpoint}"\nconnections = 2\n')
    with modelvault.Vault.open(str(root), create=True) as vault:
        yield vault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a model."""
    folder = tmp_path / "org" / "model"
    folder.mkdir(parents=True)
    for path, data in FILES.items():
        (folder / path).write_bytes(data)
    return folder


def pull(vault: Vault, source: str | Path, name: str | None = None) -> Pulled:
    """Pull with a plan, as every program does."""
    return modelvault.pull(vault, modelvault.plan_pull(vault, source, name=name))


def test_plan_says_what_a_pull_brings(vault: Vault) -> None:
    """Size, files, licence and what is there already, from the hub that the settings name."""
    plan = modelvault.plan_pull(vault, "acme/tiny")
    assert {file.path: file.size for file in plan.files} == {
        path: len(data) for path, data in FILES.items()
    }
    assert plan.license is not None
    assert plan.license.id == "mit"
    assert plan.to_fetch == plan.size == sum(map(len, FILES.values()))
    heard = Heard()
    done = modelvault.pull(vault, plan, progress=heard)
    assert done.new
    assert "model.safetensors" in heard.begun
    assert heard.bytes == plan.size
    assert modelvault.plan_pull(vault, "acme/tiny").to_fetch == 0


def test_single_text_is_one_pattern(vault: Vault) -> None:
    """A string is not taken for a sequence of letters."""
    plan = modelvault.plan_pull(vault, "acme/tiny", include="config.*", exclude=("x*",))
    assert [file.path for file in plan.files] == ["config.json"]


def test_path_is_a_folder_however_it_is_spelled(
    vault: Vault, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Path("./org/model")`` loses its dot, and is no model of the Hub for that."""
    monkeypatch.chdir(folder.parents[1])
    assert str(Path("./org/model")) == "org/model"
    with pytest.raises(modelvault.errors.BadOption, match="is a folder"):
        modelvault.plan_pull(vault, Path("./org/model"))
    assert pull(vault, Path("./org/model"), "acme/mine").artifact.label == "acme/mine"


def test_options_that_cannot_be_used_are_refused(vault: Vault, folder: Path) -> None:
    """Nothing is passed over in silence: not zero, not a setting of the Hub for another server."""
    refused = modelvault.errors.BadOption
    with pytest.raises(refused, match="0 connections"):
        modelvault.plan_pull(vault, "acme/tiny", connections=0)
    url = "https://files.example/SHA256SUMS"
    with pytest.raises(refused, match="do not go with a list of checksums"):
        modelvault.plan_pull(vault, url, name="acme/sums", engine="xet")
    with pytest.raises(refused, match="zip"):
        modelvault.export(vault, folder, compress="zip")
    with pytest.raises(refused, match="not a target"):
        modelvault.convert(vault, "acme/tiny", to="gguf")
    with pytest.raises(modelvault.errors.BadReference):
        modelvault.install(vault, "tiny", to="vllm", folder=folder)


def test_references_are_text_or_values(vault: Vault, tmp_path: Path) -> None:
    """What an artefact is called can be handed over as it came, alone or several."""
    artifact = pull(vault, "acme/tiny").artifact
    medium = tmp_path / "medium"
    medium.mkdir()
    first = modelvault.export(vault, medium, "acme/tiny")
    assert first.key.created
    again = modelvault.export(vault, str(medium), [artifact.reference, "acme/tiny"])
    assert again.bundle.unchanged
    assert again.artifacts == first.artifacts == (artifact,)
    everything = modelvault.export(vault, medium, replace=True)
    assert everything.artifacts == (artifact,)
    with pytest.raises(modelvault.errors.ArtifactNotFound):
        modelvault.export(vault, medium, Reference.parse("acme/other"))


def test_expiry_without_a_zone_is_in_utc(vault: Vault, tmp_path: Path) -> None:
    """As on the command line; with a zone it is that moment."""
    pull(vault, "acme/tiny")
    now = dt.datetime.now(dt.UTC)
    hour = dt.timedelta(hours=1)
    eastern = dt.timezone(dt.timedelta(hours=9))
    for past in ((now - hour).replace(tzinfo=None), (now - hour).astimezone(eastern)):
        with pytest.raises(modelvault.errors.BadOption, match="has passed"):
            modelvault.export(vault, tmp_path / "never", expires=past)
    for number, coming in enumerate(((now + hour).replace(tzinfo=None), now + hour)):
        medium = tmp_path / f"medium{number}"
        medium.mkdir()
        assert modelvault.export(vault, medium, expires=coming).artifacts


def test_installed_model_is_listed_and_checked_again(vault: Vault, tmp_path: Path) -> None:
    """Installing twice is one install, and the list names the runtime."""
    reference = pull(vault, "acme/tiny").artifact.reference
    served = tmp_path / "served"
    done = modelvault.install(vault, reference, to="vllm", folder=served, name="tiny")
    assert done.new
    assert (served / "tiny" / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not modelvault.install(vault, "acme/tiny", to="vllm", folder=served, name="tiny").new
    (row,) = modelvault.list_artifacts(vault)
    assert (row.reference, row.targets, row.license) == (reference, ("vllm",), "mit")


def test_unknown_signer_is_refused_and_nothing_is_taken(vault: Vault, tmp_path: Path) -> None:
    """An import through the interface believes no more than one by the command."""
    pull(vault, "acme/tiny")
    medium = tmp_path / "medium"
    medium.mkdir()
    modelvault.export(vault, medium)
    with modelvault.Vault.open(tmp_path / "closed", create=True) as closed:
        with pytest.raises(modelvault.errors.UnknownSigner, match="trust"):
            modelvault.import_bundle(closed, medium)
        assert modelvault.list_artifacts(closed) == ()


def test_vault_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Only ``create=True`` makes one."""
    with (
        pytest.raises(modelvault.errors.VaultNotFound),
        modelvault.Vault.open(tmp_path / "none"),
    ):
        pass
    assert not (tmp_path / "none").exists()
