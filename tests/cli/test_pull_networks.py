"""``pull`` where the network is somebody else's: proxies, silence, and options that say so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub
from tests.support.proxy import Proxy
from tests.support.tls import Authority

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 1200}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with a model."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES)
        yield hub


def test_socks_proxy_is_refused_before_anything_is_asked(hub: LoopbackHub, tmp_path: Path) -> None:
    """For metadata and bytes alike, in words of the variable; an http proxy goes before it."""
    site = Site(tmp_path, HF_ENDPOINT=hub.endpoint, ALL_PROXY="socks5://127.0.0.1:9", NO_PROXY="")
    done = site.run("pull", "acme/tiny")
    assert done.status == 2
    assert "ALL_PROXY names a SOCKS proxy" in done.stderr
    assert "HTTPS_PROXY" in done.stderr
    assert hub.journal.requests() == []


def test_network_without_a_proxy_is_reached_directly(tmp_path: Path) -> None:
    """``NO_PROXY`` as a network, for metadata and bytes; no request goes through the proxy."""
    authority = Authority(tmp_path / "ca", "site")
    with LoopbackHub(tls=authority.server_context()) as hub, Proxy() as proxy:
        hub.add("acme/tiny", FILES)
        options = ("--endpoint", hub.endpoint, "--ca-bundle", str(authority.file))
        for way in ({"HTTPS_PROXY": proxy.url()}, {"ALL_PROXY": "socks5://127.0.0.1:9"}):
            site = Site(tmp_path / next(iter(way)), NO_PROXY="10.0.0.0/8,127.0.0.0/8", **way)
            site.run("pull", "acme/tiny", *options).ok()
    assert proxy.targets == []


def test_silence_is_borne_as_long_as_is_said(hub: LoopbackHub, tmp_path: Path) -> None:
    """By the option, by ``config.toml``, or by the variable of the Hub's own tools."""
    slow = Fault(kind=Kind.DELAY, stage=Stage.API, path="info", seconds=3.0, times=None)
    hub.faults.add(slow)
    short = Site(tmp_path / "short", HF_ENDPOINT=hub.endpoint, HF_HUB_DOWNLOAD_TIMEOUT="1")
    refused = short.run("pull", "acme/tiny")
    assert refused.status == 6
    assert "does not answer" in refused.stderr
    short.run("pull", "acme/tiny", "--timeout", "30").ok()
    configured = Site(tmp_path / "configured", HF_ENDPOINT=hub.endpoint)
    configured.vault.mkdir()
    (configured.vault / "config.toml").write_text("[hub]\ntimeout = 1\n")
    assert configured.run("pull", "acme/tiny").status == 6


def test_variable_that_is_no_time_is_bad_input(hub: LoopbackHub, tmp_path: Path) -> None:
    """Not a traceback of the library that reads it, too."""
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        site = Site(tmp_path / name, HF_ENDPOINT=hub.endpoint, **{name: "ten"})
        done = site.run("pull", "acme/tiny")
        assert done.status == 2
        assert f"{name}=ten" in done.stderr


@pytest.mark.parametrize(
    "option",
    [
        ["--endpoint", "https://hub.example"],
        ["--connections", "2"],
        ["--engine", "http"],
        ["--limit-rate", "1MB"],
        ["--ca-bundle", "ca.pem"],
        ["--token-file", "token"],
        ["--timeout", "9"],
        ["--revision", "main"],
        ["--dataset"],
        ["--sums-digest", "0" * 64],
    ],
    ids=lambda option: str(option[0]),
)
def test_options_that_a_folder_cannot_heed_are_refused(tmp_path: Path, option: list[str]) -> None:
    """Instead of being accepted in silence; what is configured for the Hub is no reason."""
    site = Site(tmp_path / "site")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    done = site.run("pull", folder, "--as", "acme/tiny", *option)
    assert done.status == 2
    assert option[0] in done.stderr
    assert not site.vault.exists()


def test_settings_for_the_hub_say_nothing_of_a_folder(tmp_path: Path) -> None:
    """``config.toml`` holds for what it can hold for."""
    site = Site(tmp_path / "site")
    site.vault.mkdir()
    (site.vault / "config.toml").write_text(
        '[hub]\nendpoint = "https://hub.example"\nconnections = 2\ntimeout = 9\n'
    )
    (tmp_path / "config.json").write_bytes(b"{}")
    site.run("pull", tmp_path, "--as", "acme/tiny", "--include", "config.json").ok()


def test_options_that_no_line_of_a_list_can_heed_are_refused(tmp_path: Path) -> None:
    """A list of web servers has no use for what opens a Hub."""
    site = Site(tmp_path)
    models = tmp_path / "models.txt"
    models.write_text("https://files.example/a/SHA256SUMS --as acme/a\n")
    for option in (["--endpoint", "https://hub.example"], ["--engine", "xet"]):
        done = site.run("pull", "--from-file", models, *option)
        assert done.status == 2
        assert option[0] in done.stderr


def test_wrong_digest_of_a_large_file_names_its_path(hub: LoopbackHub, tmp_path: Path) -> None:
    """A digest says nothing to who has to find out what is wrong."""
    hub.faults.add(Fault(kind=Kind.CORRUPT, path="model.safetensors", times=None))
    done = Site(tmp_path, HF_ENDPOINT=hub.endpoint).run("pull", "acme/tiny")
    assert done.status == 4
    assert "error: model.safetensors: its sha256 is " in done.stderr


def test_dry_run_of_a_list_says_what_it_would_bring_and_makes_nothing(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    """Line by line, with what is left out, what fails, and the sum; files of two lines once."""
    site = Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint)
    hub.add("acme/twin", {**FILES, "pytorch_model.bin": b"p" * 50})
    models = tmp_path / "models.txt"
    models.write_text("acme/tiny\nacme/twin\nacme/absent\n")
    done = site.run("pull", "--from-file", models, "--dry-run", "--json")
    assert done.status == 3
    plan = done.document
    tiny, twin, absent = plan["entries"]
    assert (tiny["state"], twin["state"], absent["state"]) == ("planned", "planned", "failed")
    assert [item["path"] for item in twin["left_out"]] == ["pytorch_model.bin"]
    size = sum(map(len, FILES.values()))
    assert tiny["to_fetch"] == twin["to_fetch"] == plan["to_fetch"] == size
    assert not site.vault.exists()
    assert not models.with_name("models.txt.lock").exists()
    models.write_text("acme/tiny\nacme/twin\n")
    site.run("pull", "--from-file", models).ok()
    lock = models.with_name("models.txt.lock").read_bytes()
    assert sum(b'"path":"config.json"' in line for line in lock.splitlines()) == 2
    again = site.run("pull", "--from-file", models, "--dry-run").ok()
    assert again.stdout.count("already here") == 2
    assert models.with_name("models.txt.lock").read_bytes() == lock
