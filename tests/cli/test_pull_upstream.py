"""``verify --upstream`` and ``pull --update`` as a user types them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.hub.hub import LoopbackHub

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(70_000)}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with two models."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES)
        hub.add("acme/other", {"config.json": b"[]"})
        yield hub


@pytest.fixture
def site(tmp_path: Path, hub: LoopbackHub) -> Site:
    """Return a site that holds both models."""
    site = Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint)
    for name in ("acme/tiny", "acme/other"):
        site.run("pull", name).ok()
    return site


def test_verify_upstream_tells_what_moved_and_what_is_gone(site: Site, hub: LoopbackHub) -> None:
    """The vault is intact, so the status is 0 whatever became of the origins."""
    commit = hub.repositories["acme/tiny"].commit({**FILES, "config.json": b"[1]"})
    del hub.repositories["acme/other"]
    found = site.run("verify", "--upstream", "--json").ok().document
    states = {item["reference"].partition("@")[0]: item for item in found["upstream"]}
    assert states["acme/other"]["state"] == "gone"
    assert states["acme/tiny"]["state"] == "moved"
    assert states["acme/tiny"]["changed"] == ["config.json"]
    assert states["acme/tiny"]["upstream_commit"] == commit
    shown = site.run("verify", "--upstream", "acme/tiny").ok().stdout
    assert "intact: 1 artefact" in shown
    assert "moved from" in shown
    assert "changed config.json" in shown
    assert site.run("verify", "--json").ok().document["upstream"] is None


def test_verify_upstream_without_a_hub_warns_and_still_verifies(tmp_path: Path, site: Site) -> None:
    """Offline is not a fault of the vault's content."""
    offline = Site(site.home, HF_HUB_OFFLINE="1")
    found = offline.run("verify", "--upstream", "--json").ok()
    assert {item["state"] for item in found.document["upstream"]} == {"unknown"}
    assert "could not be asked" in found.stderr


def test_update_follows_every_branch_and_reports_each(site: Site, hub: LoopbackHub) -> None:
    """What moved is pulled, what is gone fails the command at the end, the rest is left."""
    hub.add("acme/third", {"config.json": b"3"})
    site.run("pull", "acme/third").ok()
    commit = hub.repositories["acme/tiny"].commit({**FILES, "config.json": b"[1]"})
    del hub.repositories["acme/other"]
    done = site.run("pull", "--update", "--json")
    assert done.status == 3
    results = {item["reference"].partition("@")[0]: item for item in done.document["updates"]}
    assert results["acme/other"]["state"] == "failed"
    assert results["acme/third"]["state"] == "unchanged"
    assert results["acme/tiny"] == {
        **results["acme/tiny"],
        "state": "updated",
        "revision": commit,
        "fetched": 3,
    }
    one = site.run("pull", "--update", "acme/tiny").ok()
    assert "unchanged" in one.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--update", "acme/tiny", "--include", "*"],
        ["--update", "--as", "acme/x"],
        ["--update", "--revision", "main"],
        ["--update", "--dry-run"],
        [],
    ],
)
def test_options_that_an_update_does_not_take_are_refused(site: Site, arguments: list[str]) -> None:
    """Instead of being ignored."""
    assert site.run("pull", *arguments).status == 2
