"""``modelvault inspect`` and the plan of a very large model, through the real command."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tinygguf
from tests.support.command import Site
from tests.support.seventy import PARAMETERS, make_seventy
from tests.support.tinymodel import make_tiny_llama


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty site."""
    return Site(tmp_path / "home")


def test_file_needs_no_vault(site: Site, tmp_path: Path) -> None:
    """A file is inspected without a vault, and none is made."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tinygguf.tiny_llama())
    shown = site.run("inspect", path, "--tensors").ok().stdout
    assert "96 parameters, 32.00 bits per weight" in shown
    assert "general.architecture = llama" in shown
    assert "tokenizer.ggml.tokens = [3 values]" in shown
    assert "token_embd.weight" in shown
    assert not site.vault.exists()


def test_document_lists_every_tensor(site: Site, tmp_path: Path) -> None:
    """With --json programs get everything."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tinygguf.tiny_llama())
    document = site.run("--json", "inspect", path).ok().document
    assert document["format"] == "gguf"
    assert document["types"] == [{"type": "F32", "tensor_count": 2, "parameters": 96, "size": 384}]
    assert document["tensors"][0] == {
        "name": "token_embd.weight",
        "type": "F32",
        "shape": [2, 32],
        "parameters": 64,
        "offset": document["tensors"][0]["offset"],
        "size": 256,
        "file": "tiny.gguf",
    }


def test_attack_on_the_terminal_is_spelled_out(site: Site, tmp_path: Path) -> None:
    """Escape sequences in metadata are shown, not sent."""
    path = tmp_path / "evil.gguf"
    pair = tinygguf.string_pair("general.name", "\x1b[2J\x9bgone\nerror: none")
    path.write_bytes(tinygguf.gguf([pair], []))
    shown = site.run("inspect", path).ok().stdout
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert r"\x1b[2J\x9bgone\nerror: none" in shown


def test_number_that_json_lacks_is_text(site: Site, tmp_path: Path) -> None:
    """NaN in metadata does not break the document."""
    path = tmp_path / "nan.gguf"
    pair = tinygguf.pair("x.y", tinygguf.F32, b"\0\0\xc0\x7f")
    path.write_bytes(tinygguf.gguf([pair], []))
    assert site.run("--json", "inspect", path).ok().document["metadata"] == {"x.y": "nan"}


def test_reference_is_read_from_the_vault(site: Site, tmp_path: Path) -> None:
    """An artefact's shards are inspected where they lie."""
    make_tiny_llama(tmp_path / "tiny", shards=2)
    site.run("pull", tmp_path / "tiny", "--as", "test/tiny").ok()
    document = site.run("--json", "inspect", "test/tiny").ok().document
    assert document["parameters"] == 1_705_216
    assert len(document["files"]) == 2


def test_missing_file_is_bad_input(site: Site) -> None:
    """A file name is not taken for a reference."""
    outcome = site.run("inspect", "nowhere.gguf")
    assert outcome.status == 2
    assert "there is no such file" in outcome.stderr


def test_plan_of_seventy_billion_weights_stays_small(tmp_path: Path) -> None:
    """Planning and inspecting a sparse model of 141 GB takes less than 400 MB."""
    make_seventy(tmp_path / "seventy")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.gguf.running import make_request, run\n"
        "from modelvault.app.inspect import inspect_path\n"
        "from modelvault.core.protocol import Planned\n"
        "folder = Path(sys.argv[1])\n"
        "assert inspect_path(folder).parameters == int(sys.argv[2])\n"
        "request = make_request(folder, ['Q4_K_M'], folder / 'out', plan_only=True)\n"
        "(planned,) = [event for event in run(request) if isinstance(event, Planned)]\n"
        "assert 42e9 < planned.size < 43e9, planned.size\n"
        "assert planned.parameters == int(sys.argv[2]) + 64\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(line for line in lines if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "seventy", str(PARAMETERS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) < 400_000  # kB
