"""Pulling through the real client: kinds of repositories, selections that follow each other."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.app.filters import Filters, recall_filters
from modelvault.app.housekeeping import collect_garbage, rebuild
from modelvault.app.pull import measure, plan_pull, pull
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.app.supersede import drop_records
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event, Install
from modelvault.core.artifact import Artifact, ConversionOrigin
from modelvault.core.names import ModelName, Reference
from modelvault.core.ports import Silence
from modelvault.errors import BadOption, BadReference, CatalogDamaged, GatedRepository
from modelvault.sources.fetch.speed import Speed
from modelvault.store.paths import VaultPaths
from tests.support.fakes import UnsizedSource
from tests.support.hub.hub import LoopbackHub
from tests.support.pulls import forget_token, open_vault, pull_from

pytestmark = pytest.mark.memory

WEIGHTS = os.urandom(70_000)
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "tokenizer.json": b"{}",
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with one model."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES, card={"license": "mit"})
        yield hub


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """Return an empty vault on a machine without a token."""
    forget_token(monkeypatch, tmp_path)
    with open_vault(tmp_path / "vault") as vault:
        yield vault


def listed(vault: Vault) -> list[tuple[str, int]]:
    """Return label and number of files of all the vault lists."""
    return [(row.reference.label, row.file_count) for row in vault.catalog.listing()]


# -- the plan


def test_plan_says_what_is_held_and_fetches_nothing(hub: LoopbackHub, vault: Vault) -> None:
    """Held files are known by sha256 and by git's id; planning asks for no content."""
    pull_from(hub, vault, "acme/tiny", include=["config.json", "model.safetensors"])
    hub.journal.clear()
    source = choose_source("acme/tiny", SourceOptions(endpoint=hub.endpoint))
    plan = plan_pull(source, vault.store.paths, include=(), exclude=())
    assert set(plan.stored) == {"config.json", "model.safetensors", "tokenizer.json"}  # same bytes
    assert [file.path for file in plan.delivery.missing] == ["README.md"]
    assert plan.stored_size + plan.to_fetch == plan.size
    assert hub.journal.sent() == 0


def test_plan_needs_no_vault(hub: LoopbackHub, vault: Vault, tmp_path: Path) -> None:
    """Before the first pull there is none; nothing is made."""
    source = choose_source("acme/tiny", SourceOptions(endpoint=hub.endpoint))
    absent = tmp_path / "absent"
    plan = plan_pull(source, VaultPaths(absent), include=(), exclude=())
    assert plan.stored == {}
    assert plan.free > 0
    assert not absent.exists()


def test_rate_is_measured_on_bytes_that_are_not_kept(hub: LoopbackHub, vault: Vault) -> None:
    """The sample is bounded, comes by the file's own route, and leaves no trace."""
    big = os.urandom(9 * 1024 * 1024)
    hub.add("acme/big", {"model.safetensors": big, "config.json": b"{}"})
    source = choose_source("acme/big", SourceOptions(endpoint=hub.endpoint))
    plan = plan_pull(source, vault.store.paths, include=(), exclude=())
    sample = measure(plan)
    assert isinstance(sample, Speed)
    assert 0 < sample.size <= 8 * 1024 * 1024
    assert sample.rate * sample.seconds == pytest.approx(sample.size)
    assert hub.journal.sent(path="config.json") == 0
    assert list(vault.store.blobs()) == []
    assert list(vault.store.paths.partials.iterdir()) == []


def test_rate_is_not_measured_where_nothing_is_missing(hub: LoopbackHub, vault: Vault) -> None:
    """A held model needs no time."""
    pull_from(hub, vault, "acme/tiny")
    source = choose_source("acme/tiny", SourceOptions(endpoint=hub.endpoint))
    plan = plan_pull(source, vault.store.paths, include=(), exclude=())
    hub.journal.clear()
    assert measure(plan) is None
    assert hub.journal.sent() == 0


def test_plan_of_a_gated_model_needs_access(hub: LoopbackHub, vault: Vault) -> None:
    """Before anything is fetched, not at the first file."""
    hub.add("acme/gated", FILES, gated="manual")
    source = choose_source("acme/gated", SourceOptions(endpoint=hub.endpoint))
    with pytest.raises(GatedRepository):
        plan_pull(source, vault.store.paths, include=(), exclude=())


def test_scan_of_files_and_repository_is_in_the_plan(hub: LoopbackHub, vault: Vault) -> None:
    """What the Hub's scanner flags is named for the file and for the repository."""
    repository = hub.repositories["acme/tiny"]
    repository.scans["pytorch_model.bin"] = "unsafe"
    repository.commit(FILES)
    source = choose_source("acme/tiny", SourceOptions(endpoint=hub.endpoint))
    plan = plan_pull(source, vault.store.paths, include=["*.bin"], exclude=())
    assert plan.offer.scan == "findings in pytorch_model.bin (unsafe)"
    assert "the Hub's scanner flags pytorch_model.bin" in plan.warnings


def test_names_in_capitals_are_what_they_are(hub: LoopbackHub, vault: Vault) -> None:
    """A pickle is warned of, and a GGUF is one, however their names are spelled."""
    hub.add("acme/loud", {"pytorch_model.BIN": b"pickle", "modeling.PY": b"x = 1\n"})
    pulled = pull_from(hub, vault, "acme/loud")
    assert pulled.artifact.format == "pytorch"
    assert [text.partition(":")[0] for text in pulled.plan.warnings] == [
        "pickle files can execute code when loaded",
        "Python files are carried, never executed",
    ]
    hub.add("acme/quiet", {"Model-Q4_K_M.GGUF": b"GGUF"})
    assert pull_from(hub, vault, "acme/quiet").artifact.format == "gguf"


# -- adapters and datasets


def test_adapter_is_recognised_with_the_model_it_belongs_to(hub: LoopbackHub, vault: Vault) -> None:
    """Its format is its own, and its configuration names the base where the card does not."""
    config = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "acme/base"}).encode()
    files = {"adapter_config.json": config, "adapter_model.safetensors": WEIGHTS}
    hub.add("acme/lora", files)
    artifact = pull_from(hub, vault, "acme/lora").artifact
    assert artifact.format == "adapter"
    assert artifact.card == {"base_model": "acme/base", "base_model_relation": "adapter"}
    hub.add("acme/carded", files, card={"base_model": "acme/other"})
    assert pull_from(hub, vault, "acme/carded").artifact.card["base_model"] == "acme/other"


@pytest.mark.parametrize("config", [b"{", b"[" * 100_000, b"x" * 2_000_000, b"\xff\xfe"])
def test_attack_with_adapter_configuration_costs_the_base_only(
    hub: LoopbackHub, vault: Vault, config: bytes
) -> None:
    """Broken, nested or endless JSON is remarked on; the adapter is still pulled."""
    hub.add("acme/lora", {"adapter_config.json": config, "adapter_model.safetensors": WEIGHTS})
    done = pull_from(hub, vault, "acme/lora")
    assert done.artifact.format == "adapter"
    assert dict(done.artifact.card) == {}
    assert "adapter_config.json" in done.notes[0]


def test_model_with_an_adapter_beside_it_is_a_model(hub: LoopbackHub, vault: Vault) -> None:
    """Full weights at the top decide."""
    extra = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"a"}
    hub.add("acme/both", {**FILES, **extra})
    assert pull_from(hub, vault, "acme/both").artifact.format == "safetensors"


@pytest.mark.parametrize("spelling", ["datasets/acme/tiny", "datasets.acme/tiny"])
def test_dataset_is_kept_apart_from_the_model_of_its_name(
    hub: LoopbackHub, vault: Vault, spelling: str
) -> None:
    """Two name spaces at the Hub, two names in the vault; commits and bytes of its own."""
    rows = os.urandom(5000)
    files = {"train.parquet": rows, "README.md": b"---\nlicense: cc0-1.0\n---\n"}
    repository = hub.add("datasets/acme/tiny", files)
    pull_from(hub, vault, "acme/tiny")
    done = pull_from(hub, vault, spelling)
    assert done.artifact.label == "datasets.acme/tiny"
    assert done.artifact.format == "dataset"
    assert done.artifact.license is not None
    assert done.artifact.license.id == "cc0-1.0"
    assert done.artifact.revision == repository.branches["main"]
    assert listed(vault) == [("acme/tiny", 4), ("datasets.acme/tiny", 2)]
    found = vault.catalog.find(Reference.parse("acme/tiny@main")).artifact
    assert found.format == "safetensors"


def test_dataset_option_does_not_go_with_a_folder(vault: Vault, tmp_path: Path) -> None:
    """A folder is named by --as, a dataset by its name at the Hub."""
    with pytest.raises(BadOption):
        choose_source(str(tmp_path), SourceOptions(name="acme/tiny", dataset=True))
    with pytest.raises(BadReference):
        choose_source("datasets/tiny", SourceOptions())


# -- selections that follow each other


def test_larger_selection_takes_the_place_of_the_smaller(hub: LoopbackHub, vault: Vault) -> None:
    """One reference, one artefact; a rebuild and gc do not bring the smaller back."""
    small = pull_from(hub, vault, "acme/tiny", include=["config.json"]).artifact
    done = pull_from(hub, vault, "acme/tiny")
    assert [old.digest for old in done.replaced] == [small.digest]
    assert listed(vault) == [("acme/tiny", 4)]
    assert [event.verb for event in vault.catalog.history()] == ["pull", "pull", "supersede"]
    assert [item.digest for item in rebuild(vault).artifacts] == [done.artifact.digest]
    assert [
        blob.digest for blob in collect_garbage(vault, dry_run=True, partials=False).garbage.blobs
    ] == [small.manifest]


def test_smaller_selection_is_found_in_the_larger(hub: LoopbackHub, vault: Vault) -> None:
    """Asking for a part of what is there changes nothing, and says so."""
    full = pull_from(hub, vault, "acme/tiny").artifact
    done = pull_from(hub, vault, "acme/tiny", include=["config.json"])
    assert done.artifact == full
    assert not done.new
    assert "3 more files" in done.notes[0]
    assert listed(vault) == [("acme/tiny", 4)]


def test_selections_that_only_overlap_are_both_kept_and_told(
    hub: LoopbackHub, vault: Vault
) -> None:
    """Neither contains the other: nothing is forgotten, the user hears of the hidden one."""
    pull_from(hub, vault, "acme/tiny", include=["config.json"])
    done = pull_from(hub, vault, "acme/tiny", include=["model.safetensors"])
    assert done.replaced == ()
    assert "hidden" in done.notes[0]
    assert len(listed(vault)) == 2
    both = pull_from(hub, vault, "acme/tiny")
    assert len(both.replaced) == 2
    assert listed(vault) == [("acme/tiny", 4)]


def test_installed_selection_is_not_superseded(hub: LoopbackHub, vault: Vault) -> None:
    """What a runtime uses stays, and the user is told why."""
    small = pull_from(hub, vault, "acme/tiny", include=["config.json"]).artifact
    install = Install(artifact=small.digest, target="vllm", name="x", location="/x", receipt=b"{}")
    vault.catalog.add_install(install, event=Event(verb="install", subject="x"))
    done = pull_from(hub, vault, "acme/tiny")
    assert done.replaced == ()
    assert "installed in vllm as x" in done.notes[0]
    assert len(listed(vault)) == 2


def test_converted_selection_is_not_superseded(hub: LoopbackHub, vault: Vault) -> None:
    """A conversion's parent stays in the vault."""
    done = pull_from(hub, vault, "acme/tiny", include=["config.json"])
    small = done.artifact
    child = Artifact(
        model=small.model,
        revision=small.revision,
        variant="Q8_0",
        format="gguf",
        quantization="Q8_0",
        manifest=small.manifest,
        license=None,
        card={},
        origin=ConversionOrigin(
            parent=small.digest,
            parent_manifest=small.manifest,
            converter="gguf",
            tools={},
            parameters={},
        ),
    )
    vault.keep(child, done.manifest)
    vault.catalog.add_artifact(child, done.manifest, event=Event(verb="convert", subject="x"))
    assert "acme/tiny:Q8_0 was converted from it" in pull_from(hub, vault, "acme/tiny").notes[0]
    assert len(listed(vault)) == 3


def test_record_that_is_catalogued_again_is_not_dropped(hub: LoopbackHub, vault: Vault) -> None:
    """Between forgetting and dropping somebody may have pulled the selection again."""
    done = pull_from(hub, vault, "acme/tiny")
    drop_records(vault, (done.artifact,))
    assert vault.store.has(done.artifact.digest)


def test_label_moves_to_content_that_another_label_brought(hub: LoopbackHub, vault: Vault) -> None:
    """A tag on a known commit stands for it from now on; the branch stays where it was."""
    repository = hub.repositories["acme/tiny"]
    first = pull_from(hub, vault, "acme/tiny").artifact
    repository.tag("v1", first.revision)
    repository.commit({**FILES, "extra.txt": b"more"})
    second = pull_from(hub, vault, "acme/tiny").artifact
    again = pull_from(hub, vault, "acme/tiny@v1")
    assert again.artifact == first
    assert not again.new
    find = vault.catalog.find
    assert find(Reference.parse("acme/tiny@v1")).artifact == first
    assert find(Reference.parse("acme/tiny@main")).artifact == second


# -- filters


def test_filters_are_remembered_with_the_pull(hub: LoopbackHub, vault: Vault) -> None:
    """An update can repeat what --include and --exclude said."""
    done = pull_from(hub, vault, "acme/tiny", include=["*.json"], exclude=["tok*"])
    expected = Filters(include=("*.json",), exclude=("tok*",))
    assert recall_filters(vault, done.artifact) == expected


def test_filters_too_long_to_be_remembered_are_refused(hub: LoopbackHub, vault: Vault) -> None:
    """Before anything is fetched."""
    with pytest.raises(BadOption):
        pull_from(hub, vault, "acme/tiny", include=["x" * 4000])


def test_damaged_manifest_is_restored_by_pulling_again(hub: LoopbackHub, vault: Vault) -> None:
    """The reference's other artefacts must not stand in the way of a repair."""
    artifact = pull_from(hub, vault, "acme/tiny").artifact
    vault.store.remove(artifact.manifest)
    assert pull_from(hub, vault, "acme/tiny").artifact == artifact
    assert vault.store.has(artifact.manifest)


def test_damaged_manifest_of_another_selection_is_passed_over(
    hub: LoopbackHub, vault: Vault
) -> None:
    """It is verify's to tell; the pull goes on."""
    small = pull_from(hub, vault, "acme/tiny", include=["config.json"]).artifact
    vault.store.remove(small.manifest)
    assert pull_from(hub, vault, "acme/tiny").new


def test_filters_that_somebody_else_wrote_are_damage(hub: LoopbackHub, vault: Vault) -> None:
    """The log is not trusted to hold what a pull writes."""
    artifact = pull_from(hub, vault, "acme/tiny").artifact
    for bad in ("{", "7", "[1]", "[" * 4000):
        details = {"artifact": str(artifact.digest), "include": bad}
        vault.catalog.record(Event(verb="pull", subject=artifact.label, details=details))
        with pytest.raises(CatalogDamaged):
            recall_filters(vault, artifact)


def test_sizes_are_settled_for_the_chosen_files_alone(vault: Vault) -> None:
    """A listing without sizes costs a question for each file that is pulled, and no more."""
    source = UnsizedSource(ModelName.parse("acme/sums"), {"a.gguf": b"aaaa", "b.txt": b"b"})
    plan = plan_pull(source, vault.store.paths, include=("*.txt",), exclude=())
    assert source.asked == ["b.txt"]
    assert (plan.size, plan.to_fetch) == (1, 1)
    assert [item.size for item in plan.selection.left_out] == [None]
    done = pull(vault, plan, Silence())
    assert [(entry.path, entry.size) for entry in done.manifest.files] == [("b.txt", 1)]
