"""``convert`` as it is typed: plans, completion, an interrupt, results of several targets."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelvault.app.conversion.options import Target
from modelvault.cli.commands.convert import TARGETS
from modelvault.cli.completion import complete_from
from tests.support.command import Site
from tests.support.tinymodel import make_tiny_llama

MODEL = "test/tiny"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site whose vault holds a tiny model."""
    folder = tmp_path_factory.mktemp("convert")
    make_tiny_llama(folder / "tiny")
    site = Site(folder / "home")
    site.run("pull", folder / "tiny", "--as", MODEL).ok()
    return site


def test_plan_is_a_table_that_inspect_confirms(site: Site) -> None:
    """Shape, type, offset and bytes of every tensor, line by line; then sum and disk."""
    lines = site.run("convert", MODEL, "--to", "gguf:Q8_0", "--dry-run").ok().stdout.splitlines()
    assert site.run("show", f"{MODEL}:Q8_0").status == 3
    site.run("convert", MODEL, "--to", "gguf:Q8_0").ok()
    shown = site.run("inspect", f"{MODEL}:Q8_0", "--tensors").ok().stdout.splitlines()
    start = next(number for number, line in enumerate(shown) if line.startswith("tensor "))
    inspected = [line.split()[:-1] for line in shown[start + 1 :]]  # without the file
    assert lines[0].split() == ["tensor", "type", "shape", "offset", "bytes"]
    assert [line.split() for line in lines[1 : 1 + len(inspected)]] == inspected
    summary, _, disk = lines[1 + len(inspected) :]
    assert summary.startswith("Q8_0: ")
    assert f"{len(inspected)} tensors" in summary
    assert disk.startswith("disk: ")
    assert disk.endswith(" free")


def test_plan_for_programs_holds_every_figure(site: Site) -> None:
    """One document: targets with their tensors, sizes, free space, warnings."""
    command = ("--json", "convert", MODEL, "--to", "gguf:F16", "--to", "gguf:Q4_K_M", "--dry-run")
    outcome = site.run(*command).ok()
    document = outcome.document
    assert [target["target"] for target in document["targets"]] == ["F16", "Q4_K_M"]
    for target in document["targets"]:
        last = max(target["tensors"], key=lambda tensor: tensor["offset"])
        assert 0 <= target["size"] - last["offset"] - last["size"] < 32
        assert target["in_vault"] is False
    assert document["size"] == sum(target["size"] for target in document["targets"])
    assert document["fits"] is (document["size"] <= document["free"])
    assert document["warnings"] == [
        json.loads(line)["message"] for line in outcome.stderr.splitlines()
    ]


def test_plan_says_what_is_here_already(site: Site) -> None:
    """It would not be made again, so it takes no room."""
    site.run("convert", MODEL, "--to", "gguf:BF16").ok()
    lines = site.run("convert", MODEL, "--to", "gguf:BF16", "--dry-run").ok().stdout.splitlines()
    assert lines[-3].endswith("already here")
    assert lines[-1].startswith("disk: 0 B to write")


def test_every_target_that_is_completed_is_one() -> None:
    """``--to`` offers nothing that it would then refuse as malformed."""
    complete = complete_from(TARGETS)
    assert complete("gguf:q4") == ["gguf:Q4_K_M", "gguf:Q4_K_S"]
    assert complete("w") == ["w4a16"]
    assert {Target.parse(name).converter for name in TARGETS} == {
        "awq",
        "w4a16",
        "fp8",
        "int8",
        "gguf",
    }


def test_help_shows_the_whole_form_of_a_reference(site: Site) -> None:
    """Brackets are text there, not markup."""
    assert "ORG/NAME[@REVISION][:VARIANT]" in site.run("convert", "--help").ok().stdout


def test_interrupt_says_what_is_kept(site: Site, tmp_path: Path) -> None:
    """Control-C in the middle: status 130, no traceback, and what to do next."""
    started = tmp_path / "started"
    script = tmp_path / "slow.py"
    script.write_text(
        "import json, pathlib, sys, time\n"
        "request = json.loads(sys.stdin.buffer.read())\n"
        "pathlib.Path(request['output'], 'resume.json').touch()\n"
        f"pathlib.Path({str(started)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    program = (
        "import sys, time, pathlib\n"
        "from modelvault.app.conversion import requests\n"
        "from modelvault.cli.main import run\n"
        f"requests.find_converter = lambda _: [sys.executable, {str(script)!r}]\n"
        f"sys.exit(run(['--vault', {str(site.vault)!r}, 'convert', {MODEL!r}, '--to', 'awq']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,  # as a terminal does it: the signal reaches the child too
    ) as process:
        while not started.exists():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaints.splitlines() == [
        "error: stopped; what is done is kept [Interrupted]",
        "hint: run the same command again to go on from here",
    ]
