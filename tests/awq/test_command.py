"""``convert --to awq`` from the command line to a folder for vLLM."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.tinymodel import training_text
from tests.support.trainedmodel import Family

MODEL = "test/tiny"
ENTRIES = "[modelvault.converters]\n" + "".join(
    f"{name} = modelvault_converters.awq\n" for name in ("awq", "w4a16", "fp8", "int8")
)


@pytest.fixture
def site(trained: Callable[[Family], Path], tmp_path: Path) -> Site:
    """Return a site that holds a trained model; the entry points are those of this tree."""
    packages = tmp_path / "packages" / "awq_entry_points-1.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: awq-entry-points\nVersion: 1\n"
    )
    (packages / "entry_points.txt").write_text(ENTRIES)
    site = Site(tmp_path / "home", PYTHONPATH=str(packages.parent))
    site.run("pull", trained("llama"), "--as", MODEL).ok()
    return site


def test_options_reach_the_converter_and_the_report_is_shown(site: Site, tmp_path: Path) -> None:
    """The lineage tells what was asked for and how good it became; vLLM takes the folder."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(training_text()), encoding="utf-8")
    options = ("--calibration", corpus, "--samples", "6", "--sequence-length", "48", "--seed", "5")
    command = ("convert", MODEL, "--to", "awq", *options, "--group-size", "64", "--threads", "1")
    site.run(*command).ok()
    shown = site.run("show", f"{MODEL}:AWQ", "--json").ok().stdout
    for key, value in {
        "samples": "6",
        "sequence_length": "48",
        "seed": "5",
        "group_size": "64",
    }.items():
        assert f'"{key}": "{value}"' in shown or f'"{key}":"{value}"' in shown
    assert "kl.awq" in shown
    assert "already here" in site.run(*command).ok().stdout
    site.run("install", f"{MODEL}:AWQ", "--to", "vllm", "--dir", tmp_path / "models").ok()
    config = json.loads((tmp_path / "models" / "test" / "tiny-AWQ" / "config.json").read_text())
    assert config["quantization_config"]["group_size"] == 64


def test_refusal_ends_with_the_status_of_bad_input(site: Site, tmp_path: Path) -> None:
    """A calibration file that is not there is the user's to mend."""
    done = site.run("convert", MODEL, "--to", "awq", "--calibration", tmp_path / "none.txt")
    assert done.status == 2
    assert "none.txt" in done.stderr


def kill_after_a_layer(site: Site, *command: str | Path) -> int:
    """Start a conversion and SIGKILL the vault once a layer is durable; return the layers."""

    def layers() -> int:
        for journal in (site.vault / "partial").glob("convert-*/resume.json"):
            with contextlib.suppress(FileNotFoundError):
                return int(json.loads(journal.read_text())["layers"])
        return 0

    assert site.kill_when(lambda: layers() > 0, *command, timeout=240)
    return layers()


@pytest.mark.slow
def test_killed_conversion_goes_on_and_gives_the_same_bytes(site: Site) -> None:
    """SIGKILL in the middle: the same command goes on after the last finished layer."""
    command = ("convert", MODEL, "--to", "awq", "--samples", "6", "--threads", "1")
    finished = kill_after_a_layer(site, *command)
    (folder,) = (site.vault / "partial").glob("convert-*[0-9a-f]")
    assert site.run("gc", "--json").ok().document["leftovers"] == []
    again = site.run(*command, "--json").ok()
    events = [json.loads(line) for line in again.stderr.splitlines()]
    steps = [event["layer"] for event in events if event["event"] == "step"]
    assert min(steps) == finished + 1
    (begun,) = [event for event in events if event["event"] == "begin"]
    assert 0 < begun["resumed"] < begun["total"]
    assert not folder.exists()
    resumed = again.document["artifacts"][0]["artifact"]
    site.run("remove", f"{MODEL}:AWQ").ok()
    assert site.run(*command, "--json").ok().document["artifacts"][0]["artifact"] == resumed


def test_plan_and_result_of_each_type_agree(site: Site) -> None:
    """Every tensor of a dry run stands in the file where it was said to stand."""
    for name in ("awq", "w4a16", "fp8", "int8"):
        (plan,) = (
            site.run("convert", MODEL, "--to", name, "--dry-run", "--json").ok().document["targets"]
        )
        few = ("--samples", "2") if name in ("awq", "w4a16") else ()
        site.run("convert", MODEL, "--to", name, *few, "--threads", "1").ok()
        found = site.run("inspect", f"{MODEL}:{name.upper()}", "--json").ok().document
        keys = ("name", "type", "shape", "file", "offset", "size")
        assert plan["tensors"] == [
            {key: tensor[key] for key in keys} for tensor in found["tensors"]
        ]
