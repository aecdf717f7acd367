"""``pull`` as a user types it: what it says before, while and after."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

MIB = 1024 * 1024
FILES = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(2 * MIB),
    "pytorch_model.bin": b"pickle",
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with a model, its quantisations and a dataset."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES, card={"license": "mit"}, scans={"model.safetensors": "safe"})
        quantized = {f"tiny.{label}.gguf": label.encode() * 99 for label in ("Q4_K_M", "Q8_0")}
        hub.add("acme/tiny-GGUF", quantized)
        hub.add("datasets/acme/tiny", {"train.parquet": b"rows"})
        yield hub


@pytest.fixture
def site(tmp_path: Path, hub: LoopbackHub) -> Site:
    """Return a site whose hub is the loopback hub."""
    return Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint)


def test_dry_run_shows_everything_an_operator_decides_on(site: Site) -> None:
    """Files, sizes, scans, what stays out, licence, gating, space and time; nothing is made."""
    plan = site.run("pull", "acme/tiny", "--dry-run", "--json").ok().document
    assert plan["license"] == "mit"
    assert plan["gated"] is False
    assert plan["scan"] == "no findings"
    assert {file["path"]: file["scan"] for file in plan["files"]} == {
        "README.md": "safe",
        "config.json": "safe",
        "model.safetensors": "safe",
    }
    assert [item["path"] for item in plan["left_out"]] == ["pytorch_model.bin"]
    assert plan["in_vault_size"] + plan["to_fetch"] == plan["size"]
    assert plan["rate"] > 0
    assert plan["seconds"] == pytest.approx(plan["to_fetch"] / plan["rate"])
    assert not site.vault.exists()
    shown = site.run("pull", "acme/tiny", "--dry-run").ok().stdout
    for words in ("licence: mit", "open to everybody", "no findings", "free", "measured just now"):
        assert words in shown


def test_dry_run_after_a_pull_has_nothing_left_to_do(site: Site) -> None:
    """What the vault holds is marked, and no rate is asked for."""
    site.run("pull", "acme/tiny").ok()
    plan = site.run("pull", "acme/tiny", "--dry-run", "--json").ok().document
    assert plan["to_fetch"] == 0
    assert all(file["in_vault"] for file in plan["files"])
    assert plan["seconds"] is None
    assert "in the vault" in site.run("pull", "acme/tiny", "--dry-run").ok().stdout


def test_dry_run_groups_quantisations_with_the_filter_for_each(site: Site) -> None:
    """The shown pattern takes exactly its own files."""
    done = site.run("pull", "acme/tiny-GGUF", "--dry-run", "--json").ok()
    groups = done.document["quantizations"]
    assert [group["label"] for group in groups] == ["Q8_0", "Q4_K_M"]
    for group in groups:
        arguments = ("pull", "acme/tiny-GGUF", "--include", group["include"], "--dry-run")
        plan = site.run(*arguments, "--json").ok().document
        assert [file["path"] for file in plan["files"]] == group["files"]
    shown = site.run("pull", "acme/tiny-GGUF", "--dry-run").ok().stdout
    assert "--include '*Q4_K_M*'" in shown


def test_larger_selection_replaces_the_smaller_in_the_list(site: Site) -> None:
    """One line in the list; the command says what it took the place of."""
    site.run("pull", "acme/tiny", "--include", "*.json").ok()
    done = site.run("pull", "acme/tiny").ok()
    assert "in place of sha256:" in done.stdout
    assert len(site.run("list", "--json").ok().document) == 1


def test_dataset_is_pulled_by_option_and_listed_by_its_own_name(site: Site) -> None:
    """No collision with the model of the same name."""
    site.run("pull", "acme/tiny").ok()
    site.run("pull", "--dataset", "acme/tiny").ok()
    rows = site.run("list", "--json").ok().document
    named = {row["reference"].partition("@")[0]: row["format"] for row in rows}
    assert named == {"acme/tiny": "safetensors", "datasets.acme/tiny": "dataset"}
    shown = site.run("show", "datasets.acme/tiny").ok().stdout
    assert "/datasets/acme/tiny" in shown


def test_dry_run_whose_bytes_do_not_come_still_shows_the_plan(site: Site, hub: LoopbackHub) -> None:
    """The rate is missing, with a warning; everything else is known."""
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.CDN, status=503, times=None))
    done = site.run("pull", "acme/tiny", "--dry-run", "--json").ok()
    assert done.document["to_fetch"] > 0
    assert done.document["rate"] is None
    assert "could not be measured" in done.stderr


def test_retries_and_resumed_bytes_reach_programs(site: Site, hub: LoopbackHub) -> None:
    """An answer that breaks off is counted with its reason, and everything adds up."""
    hub.faults.add(Fault(kind=Kind.CUT, stage=Stage.CDN, after=MIB))
    done = site.run("pull", "acme/tiny", "--json").ok()
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (retry,) = [event for event in events if event["event"] == "retry"]
    assert (retry["task"], retry["retries"]) == ("model.safetensors", 1)
    assert retry["reason"]
    last = events[-1]
    assert (last["event"], last["final"], last["retries"]) == ("overall", True, 1)
    assert last["done"] == last["total"] == done.document["size"]
