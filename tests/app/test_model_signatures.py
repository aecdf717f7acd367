"""``model.sig`` beside what is installed: who signs, what travels, what the reference says."""

import dataclasses
import json
from pathlib import Path

import pytest

from modelvault.app.export import ExportOptions, choose_artifacts, export
from modelvault.app.import_ import import_bundle
from modelvault.app.install import Installed, install, plan_install, uninstall
from modelvault.app.keys import distrust_key, export_key, own_key, trust_key
from modelvault.app.status import status
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import MalformedRecord, TargetConflict, UnsupportedVersion
from modelvault.trust.model_signatures import ModelSignatures, parse_model_signatures
from tests.contracts.runtimes import files_below
from tests.support import tinygguf
from tests.support.command import Site, closed_site
from tests.support.installable import SAFETENSORS_FILES, make_artifact
from tests.support.modelsigning import verify_model

pytestmark = pytest.mark.memory

GGUF = {"Tiny-1B-Q4_K_M.gguf": tinygguf.tiny_llama()}
PROJECTOR = tinygguf.gguf([tinygguf.string_pair("general.architecture", "clip")])


def add(vault: Vault, files: dict[str, bytes] | None = None) -> Artifact:
    """Put an artefact into the vault and its catalogue; by default a folder of safetensors."""
    vault.open_catalog()
    files = dict(SAFETENSORS_FILES) if files is None else files
    gguf = any(name.endswith(".gguf") for name in files)
    artifact, manifest = make_artifact(
        vault.store,
        files,
        variant="Q4_K_M" if gguf else None,
        kind="gguf" if gguf else "safetensors",
    )
    vault.catalog.add_artifact(
        artifact, manifest, event=Event(verb="pull", subject=artifact.label, details={})
    )
    return artifact


def bring(
    vault: Vault,
    artifact: Artifact,
    target: str,
    folder: Path,
    *,
    name: str | None = None,
    replace: bool = False,
) -> Installed:
    """Install an artefact."""
    reference = Reference.parse(str(artifact.reference))
    plan = plan_install(vault, reference, target, folder, name, replace=replace)
    return install(vault, plan, Silence())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a runtime's folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a new vault without a key."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        vault.open_catalog()
    return tmp_path / "vault"


@pytest.fixture
def keyed(root: Path) -> Path:
    """Return the vault, with a key."""
    with Vault.open(root) as vault:
        own_key(vault, create=True)
    return root


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a medium with both artefacts, and the publisher's key in ``publisher.pem``."""
    with Vault.open(tmp_path / "publisher", create=True) as vault:
        add(vault)
        add(vault, GGUF)
        export(vault, choose_artifacts(vault, ()), tmp_path / "medium", ExportOptions(), Silence())
        export_key(vault, tmp_path / "publisher.pem")
    return tmp_path / "medium"


def receive(root: Path, bundle: Path) -> tuple[str, ...]:
    """Trust the publisher, import the bundle; return the warnings."""
    with Vault.open(root) as vault:
        trust_key(vault, bundle, label=None, fingerprint=None, confirm=lambda _: True)
        return import_bundle(vault, bundle, Silence()).warnings


def artifacts(vault: Vault) -> dict[str, Artifact]:
    """Return what a vault holds, by its format."""
    return {item.artifact.format: item.artifact for item in vault.catalog.artifacts()}


# -- the vault's own key


def test_reference_accepts_a_folder_that_was_installed(
    tmp_path: Path, root: Path, models: Path
) -> None:
    """The vault's key signs all that stands there, and nothing else passes."""
    with Vault.open(root) as vault:
        own_key(vault, create=True)
        done = bring(vault, add(vault), "vllm", models)
        export_key(vault, tmp_path / "site.pem")
    folder = models / "acme" / "Tiny-1B"
    assert done.signature == "acme/Tiny-1B/model.sig"
    result = verify_model(folder, tmp_path / "site.pem")
    assert result.returncode == 0, result.stderr
    config = folder / "config.json"
    config.unlink()
    config.write_bytes(b"{}")
    assert verify_model(folder, tmp_path / "site.pem").returncode != 0


def test_reference_accepts_a_file_among_others(tmp_path: Path, keyed: Path, models: Path) -> None:
    """llama.cpp's models of one file share a folder: each signature is about its own."""
    with Vault.open(keyed) as vault:
        bring(vault, add(vault, GGUF), "llamacpp", models)
        export_key(vault, tmp_path / "site.pem")
        alone = models / "Tiny-1B-Q4_K_M.model.sig"
        result = verify_model(models, tmp_path / "site.pem", signature=alone)
        assert result.returncode == 0, result.stderr
        bring(vault, add(vault, GGUF), "llamacpp", models, name="other")
    for name in ("Tiny-1B-Q4_K_M", "other"):
        result = verify_model(
            models,
            tmp_path / "site.pem",
            "--ignore_unsigned_files",
            signature=models / f"{name}.model.sig",
        )
        assert result.returncode == 0, result.stderr
    (models / "other.gguf").unlink()
    (models / "other.gguf").write_bytes(b"changed")
    refused = verify_model(
        models,
        tmp_path / "site.pem",
        "--ignore_unsigned_files",
        signature=models / "other.model.sig",
    )
    assert refused.returncode != 0


def test_reference_accepts_a_model_with_its_projector(
    tmp_path: Path, keyed: Path, models: Path
) -> None:
    """Both files of the folder are signed."""
    with Vault.open(keyed) as vault:
        bring(vault, add(vault, {**GGUF, "mmproj-F16.gguf": PROJECTOR}), "llamacpp", models)
        export_key(vault, tmp_path / "site.pem")
    assert verify_model(models / "Tiny-1B-Q4_K_M", tmp_path / "site.pem").returncode == 0


def test_vault_without_a_key_says_so_and_signs_once_it_has_one(
    tmp_path: Path, root: Path, models: Path
) -> None:
    """No key is made unasked; installing again adds the signature and touches nothing else."""
    with Vault.open(root) as vault:
        stored = bring(vault, add(vault, GGUF), "ollama", models)
        assert (stored.signature, stored.unsigned) == (None, "")
        assert any("no model.sig" in note for note in stored.receipt.notes)
        done = bring(vault, add(vault), "vllm", models)
        assert done.signature is None
        assert "modelvault key generate" in done.unsigned
        assert not (root / "keys" / "signing.pem").exists()
        assert not list(models.rglob("*model.sig"))
        own_key(vault, create=True)
        assert bring(vault, add(vault), "vllm", models).signature == "acme/Tiny-1B/model.sig"
        export_key(vault, tmp_path / "site.pem")
    assert verify_model(models / "acme/Tiny-1B", tmp_path / "site.pem").returncode == 0


@pytest.mark.parametrize("target", ["vllm", "llamacpp"])
def test_second_install_keeps_the_signature_byte_for_byte(
    keyed: Path, models: Path, target: str
) -> None:
    """No signature is alike another: the one that stands is kept, whoever records it."""
    with Vault.open(keyed) as vault:
        artifact = add(vault, None if target == "vllm" else GGUF)
        path = models / str(bring(vault, artifact, target, models).signature)
        content = path.read_bytes()
        assert not bring(vault, artifact, target, models).new
        assert path.read_bytes() == content
        (keyed / "keys" / "signing.pem").unlink()
        assert not bring(vault, artifact, target, models).new  # signed then, recorded since
        assert path.read_bytes() == content
        own_key(vault, create=True)
        assert not bring(vault, artifact, target, models).new
        bring(vault, artifact, target, models, replace=True)
        assert path.read_bytes() != content


@pytest.mark.parametrize("target", ["vllm", "llamacpp"])
def test_status_knows_the_signature_and_uninstall_takes_it_along(
    keyed: Path, models: Path, target: str
) -> None:
    """It is a file of the receipt like the others."""
    with Vault.open(keyed) as vault:
        done = bring(vault, add(vault, None if target == "vllm" else GGUF), target, models)
        path = models / str(done.signature)
        content = path.read_bytes()
        assert status(vault, Silence())[0].state == "in place"
        path.unlink()
        assert status(vault, Silence())[0].state == "1 missing"
        path.write_bytes(bytes(len(content)))
        assert status(vault, Silence())[0].state == "1 changed"
        path.write_bytes(content)
        uninstall(vault, done.receipt.name, None, None)
        assert files_below(models) == []


@pytest.mark.parametrize("target", ["vllm", "llamacpp"])
def test_model_of_an_earlier_release_gets_its_signature(
    keyed: Path, models: Path, target: str
) -> None:
    """Installed without one, installed again: nothing else is touched, and undoing takes all."""
    with Vault.open(keyed) as vault:
        artifact = add(vault, None if target == "vllm" else GGUF)
        plan = plan_install(
            vault, Reference.parse(str(artifact.reference)), target, models, None, replace=False
        )
        install(vault, dataclasses.replace(plan, signature_path=""), Silence())
        before = {path: (models / path).stat().st_ino for path in files_below(models)}
        done = bring(vault, artifact, target, models)
        assert done.new
        assert done.replaced is None
        after = {path: (models / path).stat().st_ino for path in files_below(models)}
        assert after.items() - before.items() == {
            (done.signature, (models / str(done.signature)).stat().st_ino)
        }
        uninstall(vault, done.receipt.name, None, None)
        assert files_below(models) == []


@pytest.mark.parametrize("target", ["vllm", "llamacpp"])
def test_signature_of_others_is_not_replaced_unasked(
    keyed: Path, models: Path, target: str
) -> None:
    """Someone else may have signed what stands there: theirs stays, or goes with --replace."""
    with Vault.open(keyed) as vault:
        artifact = add(vault, None if target == "vllm" else GGUF)
        done = bring(vault, artifact, target, models)
        path = models / str(done.signature)
        path.write_bytes(b'{"theirs":true}')
        with pytest.raises(TargetConflict):
            bring(vault, artifact, target, models)
        assert path.read_bytes() == b'{"theirs":true}'
        bring(vault, artifact, target, models, replace=True)
        assert status(vault, Silence())[0].state == "in place"


def test_key_that_cannot_be_used_costs_the_signature_and_not_the_install(
    root: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its passphrase is missing: the model is installed, what is missing is said, and mended."""
    monkeypatch.setenv("MODELVAULT_KEY_PASSPHRASE", "secret")
    with Vault.open(root) as vault:
        own_key(vault, create=True)
    monkeypatch.delenv("MODELVAULT_KEY_PASSPHRASE")
    with Vault.open(root) as vault:
        done = bring(vault, add(vault), "vllm", models)
        assert done.signature is None
        assert done.unsigned.startswith("no model.sig: ")
        assert "encrypted" in done.unsigned
        assert not list(models.rglob("model.sig"))
    monkeypatch.setenv("MODELVAULT_KEY_PASSPHRASE", "secret")
    with Vault.open(root) as vault:
        assert bring(vault, add(vault), "vllm", models).signature


# -- the publisher's, on a host without a key


def test_publishers_signature_is_put_beside_what_a_keyless_host_installs(
    tmp_path: Path, root: Path, models: Path, bundle: Path
) -> None:
    """It came with the bundle, and is about exactly these files: no key is made here."""
    assert receive(root, bundle) == ()
    with Vault.open(root) as vault:
        known = artifacts(vault)
        assert bring(vault, known["safetensors"], "vllm", models).signature
        assert bring(vault, known["gguf"], "llamacpp", models).signature
        assert not (root / "keys" / "signing.pem").exists()
    key = tmp_path / "publisher.pem"
    assert verify_model(models / "acme/Tiny-1B", key).returncode == 0
    signature = models / "Tiny-1B-Q4_K_M.model.sig"
    options = ["--ignore_unsigned_files"]
    assert verify_model(models, key, *options, signature=signature).returncode == 0


def test_own_key_comes_before_the_publishers(
    tmp_path: Path, root: Path, models: Path, bundle: Path
) -> None:
    """A site that has a key answers for its folders itself."""
    receive(root, bundle)
    with Vault.open(root) as vault:
        own_key(vault, create=True)
        bring(vault, artifacts(vault)["safetensors"], "vllm", models)
        export_key(vault, tmp_path / "site.pem")
    assert verify_model(models / "acme/Tiny-1B", tmp_path / "site.pem").returncode == 0


def test_signature_that_is_not_about_these_files_is_not_used(
    root: Path, models: Path, bundle: Path
) -> None:
    """Another name of the file, or a publisher who is trusted no longer."""
    receive(root, bundle)
    with Vault.open(root) as vault:
        model = artifacts(vault)["gguf"]
        assert bring(vault, model, "llamacpp", models, name="mine").signature is None
        assert bring(vault, model, "llamacpp", models).signature
        distrust_key(vault, vault.keystore.trusted()[0].fingerprint)
        assert bring(vault, artifacts(vault)["safetensors"], "vllm", models).unsigned


def carried(bundle: Path) -> Path:
    """Return the file of signatures of a bundle."""
    return bundle / "modelvault-bundle" / "model-signatures.json"


def test_bundle_without_signatures_is_imported(root: Path, models: Path, bundle: Path) -> None:
    """Of an earlier release, or stripped on the way: nothing depends on them."""
    carried(bundle).unlink()
    assert receive(root, bundle) == ()
    with Vault.open(root) as vault:
        assert bring(vault, artifacts(vault)["safetensors"], "vllm", models).unsigned
    assert not (root / "keys" / "model-signatures.json").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b'{"_type":"modelvault/model-signatures/v9"}',
        b'{"_type":"modelvault/model-signatures/v1","signatures":[{}]}',
        b"[" * 1_000_000,
    ],
)
def test_attack_damaged_signatures_are_told_and_left_out(
    root: Path, bundle: Path, data: bytes
) -> None:
    """They are covered by no signature, so nothing in them stops an import."""
    carried(bundle).write_bytes(data)
    (warning,) = receive(root, bundle)
    assert warning.startswith("signatures over the models were left out")
    with Vault.open(root) as vault:
        assert len(artifacts(vault)) == 2


def test_attack_link_in_place_of_the_signatures_is_not_followed(
    tmp_path: Path, root: Path, bundle: Path
) -> None:
    """What stands on the medium under the name is read as a regular file or not at all."""
    carried(bundle).rename(tmp_path / "elsewhere")
    carried(bundle).symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in receive(root, bundle)[0]


def test_attack_signatures_of_strangers_and_of_other_files_are_not_kept(
    tmp_path: Path, root: Path, bundle: Path
) -> None:
    """Only what a trusted signer of the bundle has made over what it holds enters the vault."""
    honest = parse_model_signatures(carried(bundle).read_bytes())
    with Vault.open(tmp_path / "stranger", create=True) as vault:
        stranger = own_key(vault, create=True).fingerprint
    found = dict(honest.found)
    for number, ((about, signer), signature) in enumerate(honest.found.items()):
        found[about, stranger] = signature
        found[Digest.of(bytes([number])), signer] = signature
    first = next(iter(honest.found))
    found[first] = b"forged"
    carried(bundle).write_bytes(ModelSignatures(found=found).encode())
    receive(root, bundle)
    kept = parse_model_signatures((root / "keys" / "model-signatures.json").read_bytes())
    assert kept.found.keys() == honest.found.keys() - {first}


def test_signatures_travel_on_through_another_vault(
    tmp_path: Path, root: Path, models: Path, bundle: Path
) -> None:
    """A relay adds its own and passes the publisher's on; trusting either suffices."""
    receive(root, bundle)
    with Vault.open(root) as vault:
        export(vault, choose_artifacts(vault, ()), tmp_path / "on", ExportOptions(), Silence())
        publisher = vault.keystore.trusted()[0].fingerprint
        relay = own_key(vault, create=False).fingerprint
    passed = parse_model_signatures(carried(tmp_path / "on").read_bytes())
    assert {signer for _, signer in passed.found} == {publisher, relay}
    with Vault.open(tmp_path / "last", create=True) as vault:
        vault.open_catalog()
    receive(tmp_path / "last", tmp_path / "on")
    with Vault.open(tmp_path / "last") as vault:
        assert bring(vault, artifacts(vault)["safetensors"], "vllm", models).signature


def test_damaged_file_of_kept_signatures_is_told_and_stops_nothing(
    root: Path, models: Path, bundle: Path
) -> None:
    """It holds nothing that a bundle does not bring again."""
    receive(root, bundle)
    (root / "keys" / "model-signatures.json").write_bytes(b"{")
    with Vault.open(root) as vault:
        (warning,) = import_bundle(vault, bundle, Silence()).warnings
        assert "remove it" in warning or "model-signatures.json" in warning
        assert bring(vault, artifacts(vault)["safetensors"], "vllm", models).unsigned


def test_replaced_bundle_leaves_nothing_of_the_former(tmp_path: Path, bundle: Path) -> None:
    """The file is ours: an export over it neither keeps nor names it as a stranger's."""
    before = carried(bundle).read_bytes()
    with Vault.open(tmp_path / "publisher") as vault:
        chosen = choose_artifacts(vault, [Reference.parse("acme/Tiny-1B:Q4_K_M")])
        done = export(vault, chosen, bundle, ExportOptions(replace=True), Silence())
    assert done.bundle.left == ()
    after = parse_model_signatures(carried(bundle).read_bytes())
    assert len(after.found) < len(parse_model_signatures(before).found)


# -- the format


def test_file_of_signatures_reads_back_as_it_was_written() -> None:
    """Canonical, sorted, and strict."""
    signer = "SHA256:XNJS+wzokyQ2+vjM0QQJgbie5K1rn+niorfnGqyyfNM"
    found = {(Digest.of(bytes([item])), signer): bytes([item]) for item in range(3)}
    data = ModelSignatures(found=found).encode()
    assert parse_model_signatures(data).found == found
    assert ModelSignatures(found=dict(reversed(found.items()))).encode() == data
    page = (Path(__file__).parents[2] / "docs/formats/signature.md").read_text("utf-8")
    (printed,) = (line for line in page.splitlines() if line.startswith('{"_type":"modelvault/m'))
    assert len(parse_model_signatures(printed.encode()).found) == 1
    value = json.loads(data)
    for change in ({"more": 1}, {"_type": "modelvault/model-signatures/v2"}):
        with pytest.raises((MalformedRecord, UnsupportedVersion)):
            parse_model_signatures(
                json.dumps({**value, **change}, separators=(",", ":"), sort_keys=True).encode()
            )
    for field, bad in (("contents", "md5:1"), ("signer", "me"), ("signature", "*")):
        item = {**value["signatures"][0], field: bad}
        altered = {**value, "signatures": [item]}
        with pytest.raises(MalformedRecord):
            parse_model_signatures(
                json.dumps(altered, separators=(",", ":"), sort_keys=True).encode()
            )


def test_every_runtime_says_whether_it_has_a_place_for_a_signature(
    root: Path, models: Path
) -> None:
    """A folder or a file has; a store of blobs has not, and its notes say so."""
    with Vault.open(root) as vault:
        for target, files in (("vllm", None), ("llamacpp", GGUF), ("ollama", GGUF)):
            artifact = add(vault, files)
            plan = plan_install(
                vault, Reference.parse(str(artifact.reference)), target, models, None, replace=False
            )
            assert bool(plan.signature_path) is not any("model.sig" in note for note in plan.notes)


# -- the command line


def test_commands_sign_what_they_install(tmp_path: Path) -> None:
    """Both sides: the dry run names it, the install tells it, and the reference accepts it."""
    folder = tmp_path / "model"
    for name, data in SAFETENSORS_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    site, closed = Site(tmp_path / "site"), closed_site(tmp_path / "closed")
    site.run("pull", folder, "--as", "acme/tiny").ok()
    here, there = tmp_path / "here", tmp_path / "there"
    planned = site.run("install", "acme/tiny", "--to", "vllm", "--dir", here, "--dry-run").ok()
    assert "acme/tiny/model.sig" in planned.stdout
    without = site.run("install", "acme/tiny", "--to", "vllm", "--dir", here).ok()
    assert "no model.sig: this vault has no key" in without.stderr
    site.run("key", "generate").ok()
    said = site.run("install", "acme/tiny", "--to", "vllm", "--dir", here).ok()
    assert f"signed   {here}/acme/tiny/model.sig" in said.stdout
    site.run("key", "export", "--out", tmp_path / "site.pem").ok()
    assert verify_model(here / "acme/tiny", tmp_path / "site.pem").returncode == 0

    medium = tmp_path / "medium"
    site.run("export", "--bundle", medium).ok()
    closed.run("trust", "add", medium, "--yes").ok()
    closed.run("import", medium).ok()
    done = closed.run("install", "acme/tiny", "--to", "vllm", "--dir", there, "--json").ok()
    assert done.document["signature"] == "acme/tiny/model.sig"
    publisher = medium / "modelvault-bundle" / "publisher.pem"
    assert verify_model(there / "acme/tiny", publisher).returncode == 0
    assert not (closed.vault / "keys" / "signing.pem").exists()
