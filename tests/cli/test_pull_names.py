"""``pull`` understands what people paste; ``remove`` asks which revision is meant."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.hub.hub import LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with a model and a dataset."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", {"config.json": b"{}", "model.safetensors": b"w" * 500})
        hub.add("datasets/acme/quiz", {"train.parquet": b"rows"})
        yield hub


@pytest.fixture
def site(tmp_path: Path, hub: LoopbackHub) -> Site:
    """Return a site whose hub is the loopback hub."""
    return Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint)


def planned(site: Site, *arguments: str) -> tuple[str, str, list[str]]:
    """Return model, revision and paths that a pull would bring."""
    plan = site.run("pull", *arguments, "--dry-run", "--json").ok().document
    return plan["model"], plan["revision"], [file["path"] for file in plan["files"]]


def test_pasted_pages_stand_for_their_repository(site: Site, hub: LoopbackHub) -> None:
    """Asked of the site's own endpoint, whatever host the page was on."""
    tiny = hub.repositories["acme/tiny"].branches["main"]
    both = ["config.json", "model.safetensors"]
    assert planned(site, "https://huggingface.co/acme/tiny") == ("acme/tiny", tiny, both)
    assert planned(site, f"{hub.endpoint}/acme/tiny/tree/main") == ("acme/tiny", tiny, both)
    page = "https://huggingface.co/acme/tiny/blob/main/config.json"
    assert planned(site, page) == ("acme/tiny", tiny, ["config.json"])
    quiz = hub.repositories["datasets/acme/quiz"].branches["main"]
    found = planned(site, "https://hf.co/datasets/acme/quiz")
    assert found == ("datasets.acme/quiz", quiz, ["train.parquet"])


def test_beginning_of_a_commit_is_completed(site: Site, hub: LoopbackHub) -> None:
    """The Hub takes whole ids alone; the record says which it was."""
    repository = hub.repositories["acme/tiny"]
    first = repository.branches["main"]
    repository.commit({"config.json": b"[]"})
    site.run("pull", f"acme/tiny@{first[:7]}").ok()
    shown = site.run("show", "acme/tiny", "--json").ok().document
    assert shown["record"]["origin"]["commit"] == first
    assert shown["record"]["origin"]["requested"] == first
    unknown = site.run("pull", "acme/tiny@0123abc")
    assert unknown.status == 3
    assert "all 40 digits" in unknown.stderr


def test_name_without_an_organisation_is_told_its_new_one(site: Site, hub: LoopbackHub) -> None:
    """Before anything is asked."""
    done = site.run("pull", "gpt2")
    assert done.status == 2
    assert "openai-community/gpt2" in done.stderr
    assert hub.journal.requests() == []


def test_name_that_says_which_files_takes_no_include(site: Site) -> None:
    """Two answers to one question are refused."""
    done = site.run("pull", "acme/tiny:Q4_K_M", "--include", "*")
    assert done.status == 2
    assert "Q4_K_M already" in done.stderr


def test_remove_asks_which_of_two_revisions(site: Site, hub: LoopbackHub) -> None:
    """With the command for each, and nothing is removed until one is named."""
    site.run("pull", "acme/tiny").ok()
    hub.repositories["acme/tiny"].commit({"config.json": b"[]", "model.safetensors": b"v" * 500})
    site.run("pull", "acme/tiny").ok()
    asked = site.run("remove", "acme/tiny")
    assert asked.status == 2
    commands = [line.strip(" -") for line in asked.stderr.splitlines() if line.startswith("  - ")]
    assert len(commands) == 2
    assert sum("main" in command for command in commands) == 1
    assert len(site.run("list", "--json").ok().document) == 2
    words = commands[1].partition("  ")[0].split()[1:]
    site.run(*words).ok()
    assert len(site.run("list", "--json").ok().document) == 1
    site.run("remove", "acme/tiny").ok()
