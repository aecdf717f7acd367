"""Names in a runtime over time: new revisions of ours, others' models, installs let go."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modelvault.app.housekeeping import remove
from modelvault.app.install import (
    Installed,
    forget_install,
    install,
    plan_install,
    uninstall,
)
from modelvault.app.keys import own_key
from modelvault.app.status import status
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import InstallNotFound, TargetChanged, TargetConflict
from tests.contracts.runtimes import files_below
from tests.support import tinygguf
from tests.support.command import Site
from tests.support.installable import SAFETENSORS_FILES, make_artifact, tree

pytestmark = pytest.mark.memory

LABEL = "acme/Tiny-1B:Q4_K_M"


def add(vault: Vault, files: dict[str, bytes], *, variant: str | None = "Q4_K_M") -> Artifact:
    """Put an artefact into the vault and its catalogue."""
    vault.open_catalog()
    kind = "gguf" if variant else "safetensors"
    artifact, manifest = make_artifact(vault.store, files, variant=variant, kind=kind)
    vault.catalog.add_artifact(
        artifact, manifest, event=Event(verb="pull", subject=artifact.label, details={})
    )
    return artifact


def gguf(seed: bytes) -> dict[str, bytes]:
    """Return the file of one revision."""
    return {"Tiny-1B-Q4_K_M.gguf": tinygguf.tiny_llama(seed=seed)}


def bring(
    vault: Vault, artifact: Artifact, target: str, folder: Path, *, replace: bool = False
) -> Installed:
    """Install one revision."""
    reference = Reference.parse(str(artifact.reference))
    plan = plan_install(vault, reference, target, folder, None, replace=replace)
    return install(vault, plan, Silence())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a runtime's folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("target", ["ollama", "llamacpp", "vllm"])
def test_new_revision_over_our_own_older_one_says_so(
    tmp_path: Path, models: Path, target: str
) -> None:
    """Both revisions are named and the way is told; replacing is reported, and logged."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        if target == "vllm":
            changed = {**SAFETENSORS_FILES, "generation_config.json": b'{"a":1}'}
            old = add(vault, dict(SAFETENSORS_FILES), variant=None)
            new = add(vault, changed, variant=None)
        else:
            old, new = add(vault, gguf(b"\1")), add(vault, gguf(b"\2"))
        bring(vault, old, target, models)
        before = tree(models)
        with pytest.raises(TargetConflict) as caught:
            bring(vault, new, target, models)
        assert str(old.reference) in caught.value.message
        assert "which this vault installed on" in caught.value.message
        assert f"--replace puts {new.reference}" in caught.value.hint
        assert "ollama rm" not in caught.value.hint
        assert tree(models) == before
        done = bring(vault, new, target, models, replace=True)
        assert done.replaced == str(old.reference)
        assert done.warnings == ()
        (row,) = status(vault, Silence(), read=True)
        assert row.state == "in place"
        event = list(vault.catalog.history(verb="install"))[-1]
        assert event.details["replaces"] == str(old.reference)
        assert bring(vault, new, target, models).replaced is None
        uninstall(vault, row.name, None, None)
        assert files_below(models) == []


def test_revision_with_other_files_takes_the_place_of_the_whole_older_one(
    tmp_path: Path, models: Path
) -> None:
    """llama.cpp's model of text is a file, one that sees a folder: the file does not stay."""
    projector = tinygguf.gguf([tinygguf.string_pair("general.architecture", "clip")])
    with Vault.open(tmp_path / "vault", create=True) as vault:
        old = add(vault, gguf(b"\1"))
        new = add(vault, {**gguf(b"\2"), "mmproj-F16.gguf": projector})
        bring(vault, old, "llamacpp", models)
        with pytest.raises(TargetConflict, match="which this vault installed"):
            bring(vault, new, "llamacpp", models)
        bring(vault, new, "llamacpp", models, replace=True)
        name = "Tiny-1B-Q4_K_M"
        assert files_below(models) == [f"{name}/{name}.gguf", f"{name}/mmproj-F16.gguf"]
        own_key(vault, create=True)
        bring(vault, old, "llamacpp", models, replace=True)
        assert files_below(models) == [f"{name}.gguf", f"{name}.model.sig"]
        assert not (models / name).exists()


def test_rest_of_a_replaced_model_that_was_changed_is_left_and_told(
    tmp_path: Path, models: Path
) -> None:
    """What is no longer ours is not removed."""
    projector = tinygguf.gguf([tinygguf.string_pair("general.architecture", "clip")])
    with Vault.open(tmp_path / "vault", create=True) as vault:
        old = add(vault, gguf(b"\1"))
        new = add(vault, {**gguf(b"\2"), "mmproj-F16.gguf": projector})
        bring(vault, old, "llamacpp", models)
        victim = models / "Tiny-1B-Q4_K_M.gguf"
        victim.unlink()
        victim.write_bytes(b"mine")
        done = bring(vault, new, "llamacpp", models, replace=True)
        assert str(victim) in done.warnings[0]
        assert victim.read_bytes() == b"mine"


def test_place_of_a_model_that_the_runtime_removed_is_free(tmp_path: Path, models: Path) -> None:
    """After ``ollama rm`` the next revision needs no --replace."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        old, new = add(vault, gguf(b"\1")), add(vault, gguf(b"\2"))
        manifest = Path(bring(vault, old, "ollama", models).receipt.files[-1].path)
        (models / manifest).unlink()
        assert bring(vault, new, "ollama", models).replaced == str(old.reference)


def recreate(models: Path, receipt_path: str) -> bytes:
    """Give the name of an install to another model, as ``ollama create`` does."""
    manifest = models / receipt_path
    data = manifest.read_bytes().replace(b'"layers":[', b'"layers": [')
    manifest.unlink()
    manifest.write_bytes(data)
    return data


def test_name_that_the_user_re_created_can_be_forgotten(tmp_path: Path, models: Path) -> None:
    """Nothing of the user's is touched, and the vault is free of the install."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        artifact = add(vault, gguf(b"\1"))
        done = bring(vault, artifact, "ollama", models)
        recreate(models, done.receipt.files[-1].path)
        before = tree(models)
        assert status(vault, Silence())[0].state == "1 changed"
        with pytest.raises(TargetConflict, match="something else stands there now") as conflict:
            bring(vault, artifact, "ollama", models)
        assert "--forget" in conflict.value.hint
        with pytest.raises(TargetChanged) as changed:
            uninstall(vault, done.receipt.name, None, None)
        assert f"modelvault uninstall {done.receipt.name} --forget" in changed.value.hint
        with pytest.raises(TargetConflict):  # it counts as installed
            remove(vault, Reference.parse(LABEL))
        forget_install(vault, done.receipt.name, None, None)
        assert tree(models) == before
        assert status(vault, Silence()) == ()
        assert [event.verb for event in vault.catalog.history()][-1] == "forget install"
        with pytest.raises(TargetConflict, match="another model called"):
            bring(vault, artifact, "ollama", models)
        with pytest.raises(InstallNotFound):
            forget_install(vault, done.receipt.name, None, None)
        remove(vault, Reference.parse(LABEL))


@pytest.mark.parametrize("receipt", ["{}", '{"_type":"modelvault/receipt/v9"}', None])
def test_install_that_nobody_can_undo_can_be_forgotten(
    tmp_path: Path, models: Path, receipt: str | None
) -> None:
    """A damaged receipt, one of a newer release, a folder that is gone for good."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        bring(vault, add(vault, gguf(b"\1")), "llamacpp", models)
    if receipt is None:
        models.rename(tmp_path / "elsewhere")
    else:
        with closing(sqlite3.connect(tmp_path / "vault" / "catalog.db")) as database:
            database.execute("UPDATE installs SET receipt = ?", (receipt,))
            database.commit()
    with Vault.open(tmp_path / "vault") as vault:
        forget_install(vault, LABEL, "llamacpp", models)
        assert status(vault, Silence()) == ()


def test_commands_replace_and_forget(tmp_path: Path, models: Path) -> None:
    """``install --replace`` says what it replaces, ``uninstall --forget`` what it left."""
    site = Site(tmp_path / "site")
    for seed in (b"\1", b"\2"):
        folder = tmp_path / f"model{seed[0]}"
        folder.mkdir()
        (folder / "Tiny-Q4_K_M.gguf").write_bytes(tinygguf.tiny_llama(seed=seed))
        site.run("pull", folder, "--as", "acme/tiny").ok()
        done = site.run("install", "acme/tiny", "--to", "ollama", "--dir", models, "--json")
        if seed == b"\1":
            assert done.ok().document["replaced"] is None
    assert done.status == 8
    assert "which this vault installed on" in done.stderr
    said = site.run("install", "acme/tiny", "--to", "ollama", "--dir", models, "--replace").ok()
    assert "  replaces acme/tiny@" in said.stdout
    name = site.run("status", "--json").ok().document[0]["name"]
    forgotten = site.run("uninstall", name, "--forget", "--json").ok().document
    assert (forgotten["forgotten"], forgotten["removed"]) == (True, [])
    assert site.run("uninstall", name, "--forget").status == 3
    assert files_below(models)
