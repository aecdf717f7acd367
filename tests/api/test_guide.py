"""What the guide for Python prints runs as it stands, from the connected site to the closed one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Outcome, Site
from tests.support.guides import python_blocks
from tests.support.hub.hub import LoopbackHub
from tests.support.hub.repository import read_folder
from tests.support.tinymodel import make_tiny_llama

MODEL, OTHER = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-Embedding-0.6B"
SCRIPTS = {block.split()[1].rstrip(":"): block for block in python_blocks("python.md")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama checkpoint, under the name that the guide prints."""
    folder = tmp_path_factory.mktemp("model")
    make_tiny_llama(folder)
    return folder


@pytest.fixture
def hub(model: Path) -> Iterator[LoopbackHub]:
    """A hub that has what the guide names."""
    with LoopbackHub() as hub:
        hub.add(MODEL, read_folder(model))
        hub.add(OTHER, {"config.json": b"{}", "model.safetensors": b"weights"})
        yield hub


def run(site: Site, name: str, *arguments: str | Path) -> Outcome:
    """Run a script of the guide in the site's home."""
    script = site.home / name
    script.write_text(SCRIPTS[name], encoding="utf-8")
    return site.run_python(script, *arguments)


def test_scripts_of_the_guide_carry_models_across(
    tmp_path: Path, hub: LoopbackHub, model: Path
) -> None:
    """Mirrored, looked at, converted, exported, imported and installed by the printed lines."""
    connected = Site(tmp_path / "connected", HF_ENDPOINT=hub.endpoint)
    first = run(connected, "mirror.py").ok()
    assert [line.split()[-1] for line in first.stdout.splitlines()] == ["new", "new"]
    assert run(connected, "mirror.py").ok().stdout.count(": as before") == 2

    (connected.home / "checkpoint").mkdir()
    (connected.home / "checkpoint" / "config.json").write_text("{}")
    chosen = run(connected, "choose.py").ok().stdout.splitlines()
    assert f"config.json {(model / 'config.json').stat().st_size}" in chosen
    assert "licence: mit" in chosen
    assert [line.split()[0] for line in chosen[-3:]] == [MODEL, OTHER, "acme/tuned"]

    watched = run(connected, "watch.py").ok().stdout.splitlines()
    assert any(line.startswith("model.safetensors") for line in watched)

    medium = tmp_path / "medium"
    medium.mkdir()
    sent = run(connected, "send.py", medium).ok().stdout.splitlines()
    assert sent[:2] == [f"{MODEL}:Q8_0", f"{MODEL}:F16"]
    fingerprint = sent[-1].split()[-1]

    closed = Site(tmp_path / "closed")
    refused = run(closed, "receive.py", medium)
    assert refused.status == 1
    assert f"--fingerprint {fingerprint}" in refused.stderr
    closed.run("trust", "add", medium, "--fingerprint", fingerprint).ok()
    came = run(closed, "receive.py", medium).ok().stdout.splitlines()
    assert sorted(line.split("@")[0] for line in came[:-1]) == [
        f"new: {MODEL}",
        "new: acme/tuned",
    ]
    assert list((closed.home / "models").rglob("*.gguf"))


def test_mirror_goes_on_and_ends_with_the_status_of_the_worst(
    tmp_path: Path, hub: LoopbackHub
) -> None:
    """One model that cannot be had does not keep the others, and cron hears of it."""
    del hub.repositories[OTHER]
    connected = Site(tmp_path / "connected", HF_ENDPOINT=hub.endpoint)
    outcome = run(connected, "mirror.py")
    assert outcome.status == 3
    assert outcome.stdout.endswith(": new\n")
    assert outcome.stderr.startswith(f"{OTHER}: ")


def test_every_script_is_run() -> None:
    """A block that is added to the guide is added to the test, too."""
    assert SCRIPTS.keys() == {"mirror.py", "choose.py", "send.py", "receive.py", "watch.py"}
