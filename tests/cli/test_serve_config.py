"""``serve-config`` as its users call it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Outcome, Site
from tests.support.installable import SAFETENSORS_FILES

MODEL = "acme/Tiny-1B"
UNIT = "vllm-acme-tiny-1b.service"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site with a model that is installed for vLLM."""
    folder = tmp_path_factory.mktemp("serve")
    for path, data in SAFETENSORS_FILES.items():
        (folder / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "model" / path).write_bytes(data)
    site = Site(folder / "site")
    site.run("pull", str(folder / "model"), "--as", MODEL).ok()
    (folder / "srv").mkdir()
    site.run("install", MODEL, "--to", "vllm", "--dir", str(folder / "srv")).ok()
    return site


def serve(site: Site, form: str, *arguments: str | Path) -> Outcome:
    """Call the command for vLLM."""
    return site.run("serve-config", MODEL, "--for", "vllm", "--as", form, *map(str, arguments))


def test_files_are_printed_one_after_the_other(site: Site) -> None:
    """Each below its name, as a comment; the unit names the path and name of the install."""
    done = serve(site, "systemd").ok()
    assert done.stdout.startswith(f"# ----- {UNIT} -----\n")
    assert f"{site.home.parent}/srv/acme/Tiny-1B" in done.stdout
    assert "# ----- prometheus/vllm-acme-tiny-1b.rules.yml -----" in done.stdout
    assert done.stderr == ""


def test_single_file_is_printed_as_it_is(site: Site) -> None:
    """A proxy's configuration can be piped where it belongs."""
    done = serve(site, "nginx").ok()
    document = json.loads(serve(site, "nginx", "--json").ok().stdout)
    assert done.stdout == document["files"][0]["content"]


def test_folder_gets_the_files_and_keeps_what_was_changed(site: Site, tmp_path: Path) -> None:
    """Written, then unchanged; a changed one is refused by its name, and replaced when told so."""
    out = ("--out", tmp_path / "out")
    assert serve(site, "systemd", *out).ok().stdout.startswith(f"written    {UNIT}\n")
    assert serve(site, "systemd", *out).ok().stdout.startswith(f"unchanged  {UNIT}\n")
    (tmp_path / "out" / UNIT).write_text("mine\n")
    refused = serve(site, "systemd", *out)
    assert refused.status == 8
    assert f"  - {tmp_path}/out/{UNIT}\n" in refused.stderr
    assert "--replace" in refused.stderr
    done = serve(site, "systemd", *out, "--replace", "--json").ok().document
    assert done["folder"] == f"{tmp_path}/out"
    assert done["files"][0]["state"] == "replaced"


def test_notes_are_told_beside_the_files(site: Site) -> None:
    """On standard error for people, so that files stay files; in the document for programs."""
    asked = ("--context", "9000")
    assert "warning: the model declares 4096 tokens" in serve(site, "systemd", *asked).ok().stderr
    document = serve(site, "systemd", *asked, "--json").ok()
    assert document.stderr == ""
    assert "4096 tokens" in document.document["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--for", "tgi", "--as", "systemd"], "BadOption", "vllm, ollama, llamacpp, sglang"),
        (["--for", "vllm", "--as", "docker"], "BadOption", "systemd, compose, kubernetes, nginx"),
        (["--for", "ollama", "--as", "systemd"], "UnsuitableArtifact", "convert"),
        (["--for", "vllm", "--as", "compose"], "BadOption", "--registry"),
        (["--for", "vllm", "--as", "systemd", "--rate", "3"], "BadOption", "nginx"),
        (["--for", "vllm", "--as", "nginx", "--gpus", "2", "--image", "x:1"], "BadOption", "leave"),
        (["--for", "vllm", "--as", "systemd", "--replace"], "BadOption", "--out"),
        (["--for", "vllm", "--as", "systemd", "--gpus", "-1"], "BadOption", "between 0 and 64"),
        (["--for", "vllm", "--as", "systemd", "--memory", "much"], "BadOption", "size"),
        (["--for", "vllm", "--as", "systemd", "--gpu-memory", "nan"], "BadOption", "between"),
        (["--for", "vllm", "--as", "systemd", "--kv-cache", "q8_0"], "BadOption", "f16, fp8"),
        (["--for", "vllm"], "BadUsage", "--as"),
    ],
)
def test_bad_input_is_told_and_nothing_written(
    site: Site, tmp_path: Path, arguments: list[str], error: str, words: str
) -> None:
    """An error of the catalogue that says what would do, never a traceback."""
    out = [] if "--replace" in arguments else ["--out", str(tmp_path / "out")]
    done = site.run("serve-config", MODEL, *arguments, *out, "--json")
    report: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    assert done.status == report["exit_code"] != 1
    assert report["error"] == error
    assert words in report["message"] + report["hint"] + "".join(report["issues"])
    assert not (tmp_path / "out").exists()


def test_all_options_that_do_not_belong_are_listed(site: Site) -> None:
    """Not one after the other, run by run."""
    done = serve(site, "systemd", "--rate", "3", "--image", "x:1", "--claim", "y")
    assert done.status == 2
    assert done.stderr.count("\n  - ") == 3


def test_templates_are_paid_for_by_this_command_alone(site: Site) -> None:
    """Jinja2 is imported when files are made, not for help, and by no other command."""
    program = (
        "import sys\nfrom modelvault.cli.main import run\n"
        "status = run(sys.argv[1:])\nprint(status, 'jinja2' in sys.modules)"
    )
    for arguments, used in (
        (["status"], False),
        (["serve-config", "--help"], False),
        (["serve-config", MODEL, "--for", "vllm", "--as", "nginx"], True),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, "--vault", str(site.vault), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == f"0 {used}"
