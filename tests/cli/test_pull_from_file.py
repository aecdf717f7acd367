"""``pull --from-file`` as a user types it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.hub.hub import LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with two models."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", {"config.json": b"{}", "model.safetensors": b"w" * 5000})
        hub.add("acme/other", {"config.json": b"[]"})
        yield hub


@pytest.fixture
def site(tmp_path: Path, hub: LoopbackHub) -> Site:
    """Return a site whose hub is the loopback hub."""
    return Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint)


def test_list_then_lock_file_elsewhere(site: Site, hub: LoopbackHub, tmp_path: Path) -> None:
    """A failure is told and does not stop the rest; the lock file repeats the set offline."""
    models = tmp_path / "models.txt"
    models.write_text("acme/absent\nacme/tiny\nacme/other\n")
    failed = site.run("pull", "--from-file", models, "--json")
    assert failed.status == 3
    assert [item["state"] for item in failed.document["entries"]] == ["pulled", "pulled", "failed"]
    models.write_text("acme/tiny\nacme/other\n")
    done = site.run("pull", "--from-file", models).ok()
    assert "already here" in done.stdout
    assert f"pinned in {models}.lock" in done.stdout
    assert "[2/2] acme/other@main" in done.stderr
    offline = Site(site.home, HF_HUB_OFFLINE="1")
    assert "already here" in offline.run("pull", "--from-file", models, "--locked").ok().stdout
    elsewhere = Site(tmp_path / "elsewhere", HF_ENDPOINT=hub.endpoint)
    elsewhere.run("pull", "--from-file", f"{models}.lock").ok()
    listed = [
        sorted(row["artifact"] for row in side.run("list", "--json").ok().document)
        for side in (site, elsewhere)
    ]
    assert listed[0] == listed[1]


def test_options_that_a_list_does_not_take_are_refused(site: Site, tmp_path: Path) -> None:
    """Instead of being ignored."""
    models = tmp_path / "models.txt"
    models.write_text("acme/tiny\nbad\n")
    for arguments in (
        ["--from-file", models, "acme/tiny"],
        ["--from-file", models, "--include", "*"],
        ["--from-file", models, "--update"],
        ["--locked", "acme/tiny"],
    ):
        assert site.run("pull", *arguments).status == 2
    refused = site.run("pull", "--from-file", models)
    assert refused.status == 2
    assert "line 2:" in refused.stderr
