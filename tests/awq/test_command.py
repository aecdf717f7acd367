"""``convert --to awq`` from the command line to a folder for vLLM."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.tinymodel import training_text
from tests.support.trainedmodel import Family

MODEL = "test/tiny"
ENTRIES = "[modelvault.converters]\nawq = converters.awq\nfp8 = converters.awq\n"


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
