"""``modelvault fit`` through the real command: files, the vault, and repositories far away."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tinygguf
from tests.support.command import Site
from tests.support.hub.hub import LoopbackHub
from tests.support.hub.repository import HubFile
from tests.support.seventy import PARAMETERS, make_seventy
from tests.support.sparsegguf import make_decoder
from tests.support.tinymodel import make_tiny_llama


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty site."""
    return Site(tmp_path / "home")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """Return a hub whose files are named by their paths: nobody hashes 140 GB of zeros."""

    def name(file: HubFile) -> str:
        return hashlib.sha256(file.path.encode()).hexdigest()

    monkeypatch.setattr(HubFile, "sha256", property(name))
    with LoopbackHub() as hub:
        yield hub


def content(folder: Path) -> dict[str, Path | bytes]:
    """Return the files of a folder as a repository holds them."""
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture
def giant(tmp_path: Path) -> Path:
    """Return a GGUF of Llama 3.1 8B's shape, of which only the header takes disk."""
    path = tmp_path / "giant-Q4_K_S.gguf"
    make_decoder(path, layers=32, hidden=4096, heads=32, kv_heads=8, inner=14336, rows=128256)
    return path


def test_file_needs_no_vault(site: Site, giant: Path) -> None:
    """A verdict, a picture, how far one could go, and what was assumed."""
    shown = site.run("fit", giant, "--gpu", "rtx4090").ok().stdout
    assert "fits on rtx4090" in shown
    assert "weights 4.3 GiB" in shown
    assert "cache 1.0 GiB" in shown
    assert "up to 131,072 tokens for 1 sequence" in shown
    assert "a context of 8,192 tokens, of 131,072 it was trained for" in shown
    assert not site.vault.exists()


def test_document_has_every_part_in_bytes(site: Site, giant: Path) -> None:
    """Programs get the sums and their parts."""
    asked = ("--gpu", "24GB", "--context", "16384", "--concurrency", "4", "--kv-cache", "q8_0")
    found = site.run("--json", "fit", giant, *asked).ok().document
    needs = found["asked"]["needs"]
    assert found["verdict"] == "fits"
    assert found["exact"]
    assert found["gpu"]["memory"] == 24 * 1024**3
    assert needs["cache"] == 131072 * 16384 * 4 * 34 // 64
    assert needs["total"] == sum(
        needs[part] for part in ("weights", "cache", "states", "compute", "graphs", "overhead")
    )
    assert needs["buffers"] == needs["total"] - needs["overhead"]


def test_model_that_does_not_fit_says_by_how_much_and_what_would(site: Site, giant: Path) -> None:
    """Forty gigabytes are not pulled for a card of twenty-four; the status is no error."""
    shown = site.run("fit", giant, "--gpu", "4GB").ok().stdout
    assert ": no on 4GB: 6.1 GiB with 8,192 tokens in llamacpp, of 4.0 GiB" in shown
    assert "| ends at 4.0 GiB:" in shown
    assert "too much" in shown
    assert "not one of 8,192 tokens fits" in shown
    assert "best       no quantisation of it fits" in shown
    less = site.run("--json", "fit", giant, "--gpu", "6GB").ok().document
    assert less["verdict"] == "no"
    assert less["best"] == "Q3_K_M"


def test_table_has_the_family(site: Site, giant: Path) -> None:
    """Each quantisation with its verdict; the one that is there is told from computed ones."""
    lines = site.run("fit", giant, "--gpu", "16GB", "--table").ok().stdout.splitlines()
    rows = {line.split()[0]: line for line in lines if " GiB " in line and "  " in line}
    assert "  no  " in rows["F16"]
    assert "  fits  " in rows["Q8_0"]
    assert rows["Q4_K_S"].endswith("there") or rows["giant-Q4_K_S.gguf"].endswith("there")
    assert rows["Q8_0"].endswith("computed")


def test_without_a_gpu_the_needs_are_told(giant: Path, tmp_path: Path) -> None:
    """No verdict is made up; the way to one is named."""
    bare = Site(tmp_path / "bare", PATH=str(tmp_path))
    shown = bare.run("fit", giant).ok().stdout
    assert "needs 6.1 GiB with 8,192 tokens" in shown
    assert "--gpu 24GB or --gpu rtx4090 says whether it fits" in shown
    found = bare.run("--json", "fit", giant).ok().document
    assert found["verdict"] is None
    assert found["gpu"] is None


def test_picture_is_plain_where_the_terminal_is(giant: Path, tmp_path: Path) -> None:
    """No character beyond ASCII where the output cannot show it."""
    plain = Site(tmp_path / "plain", PYTHONIOENCODING="ascii")
    shown = plain.run("fit", giant, "--gpu", "8GB").ok().stdout
    assert shown.isascii()
    assert "[####" in shown
    assert "# weights 4.3 GiB" in shown


def test_folder_is_for_vllm_and_ollama_gets_a_conversion(site: Site, tmp_path: Path) -> None:
    """The same checkpoint is judged as it is, and as what it would be converted to."""
    folder = tmp_path / "seventy"
    make_seventy(folder)
    served = site.run("--json", "fit", folder, "--gpu", "h100", "--gpus", "4").ok().document
    assert served["runtime"] == "vllm"
    assert served["asked"]["weights"] == 2 * PARAMETERS
    assert served["asked"]["label"] == "BF16"
    assert served["verdict"] == "fits"
    made = site.run("--json", "fit", folder, "--gpu", "h100", "--runtime", "ollama").ok().document
    assert made["asked"]["label"] == made["best"] == "Q8_0"
    assert not made["asked"]["made"]
    assert not made["exact"]


def test_seventy_billion_are_judged_before_a_pull_for_less_than_five_megabytes(
    site: Site, tmp_path: Path, hub: LoopbackHub
) -> None:
    """Headers of thirty shards by ranges; the weights are exact to the byte; no vault is made."""
    folder = tmp_path / "seventy"
    make_seventy(folder)
    hub.add("acme/seventy", content(folder))
    asked = ("fit", "acme/seventy", "--gpu", "h100", "--endpoint", hub.endpoint)
    found = site.run("--json", *asked).ok().document
    assert found["place"] == "remote"
    assert found["exact"]
    assert found["asked"]["weights"] == 2 * PARAMETERS
    assert found["verdict"] == "no"
    assert sum(request.sent for request in hub.journal.requests()) < 5_000_000
    assert not site.vault.exists()


def test_gguf_is_judged_before_a_pull_without_its_vocabulary(
    site: Site, tmp_path: Path, hub: LoopbackHub
) -> None:
    """Keys stand before the tokens, of which a real one has megabytes."""
    tokens = [f"token number {number}" for number in range(200_000)]
    pairs = [
        tinygguf.string_pair("general.architecture", "llama"),
        tinygguf.u32_pair("general.file_type", 15),
        *(
            tinygguf.u32_pair(f"llama.{key}", value)
            for key, value in {
                "context_length": 8192,
                "embedding_length": 4096,
                "block_count": 32,
                "feed_forward_length": 14336,
                "attention.head_count": 32,
                "attention.head_count_kv": 8,
            }.items()
        ),
        tinygguf.strings_pair("tokenizer.ggml.tokens", tokens),
    ]
    path = tmp_path / "m-Q4_K_M.gguf"
    path.write_bytes(tinygguf.gguf(pairs, []))
    with open(path, "r+b") as file:
        file.truncate(4_900_000_000)
    hub.add("acme/m-GGUF", {"m-Q4_K_M.gguf": path})
    asked = ("fit", "acme/m-GGUF", "--gpu", "8GB", "--endpoint", hub.endpoint)
    found = site.run("--json", *asked).ok().document
    assert found["asked"]["label"] == "Q4_K_M"
    assert found["asked"]["needs"]["cache"] == 131072 * 8192
    assert not found["exact"]
    assert any("weights are what the files come to" in line for line in found["assumptions"])
    assert sum(request.sent for request in hub.journal.requests()) < 2_000_000


def test_stored_artefact_is_judged_from_the_vault(site: Site, tmp_path: Path) -> None:
    """No network, and the label that the vault knows it by."""
    folder = tmp_path / "tiny"
    make_tiny_llama(folder)
    site.run("pull", folder, "--as", "acme/tiny").ok()
    found = site.run("--json", "fit", "acme/tiny", "--gpu", "24GB").ok().document
    assert found["place"] == "vault"
    assert found["model"] == "acme/tiny"
    assert found["exact"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "rtx9999"), "no GPU that is known"),
        (("--context", "0"), "--context 0"),
        (("--context", "-5"), "--context -5"),
        (("--gpus", "0"), "--gpus 0"),
        (("--gpus", "100000"), "--gpus 100000"),
        (("--concurrency", "0"), "--concurrency 0"),
        (("--kv-cache", "q9_9"), "no type of a cache"),
        (("--runtime", "torch"), "is not computed"),
        (("--runtime", "vllm"), "which vllm does not load"),
        (("--kv-cache", "fp8"), "llamacpp has no cache of fp8"),
    ],
)
def test_option_that_cannot_be_meant_is_refused(
    site: Site, giant: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Each with its error, a hint and its status; never a traceback."""
    outcome = site.run("fit", giant, *arguments)
    assert outcome.status in (2, 8)
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_nothing_there_is_said(site: Site, tmp_path: Path) -> None:
    """A path that is not there, and one that is no model."""
    assert site.run("fit", tmp_path / "absent.gguf").status == 3
    (tmp_path / "text.gguf").write_bytes(b"hello, I am no GGUF at all")
    outcome = site.run("fit", tmp_path / "text.gguf", "--gpu", "24GB")
    assert outcome.status == 7
    assert "text.gguf: GGUF header" in outcome.stderr


def test_attack_on_the_terminal_is_spelled_out(site: Site, tmp_path: Path) -> None:
    """An architecture's name is a stranger's text."""
    folder = tmp_path / "evil"
    make_tiny_llama(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["\x1b[2JEvil"], "model_type": "evil"}
    (folder / "config.json").write_text(json.dumps(config))
    shown = site.run("fit", folder, "--gpu", "24GB").ok().stdout
    assert "\x1b" not in shown
    assert r"\x1b[2JEvil is not known" in shown
