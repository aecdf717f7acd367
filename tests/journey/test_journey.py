"""The whole journey with real commands, the real Hub client and real llama.cpp."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Site, closed_site, only_mounted
from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub
from tests.support.hub.repository import read_folder
from tests.support.llamacpp import Model
from tests.support.needs import require
from tests.support.tinymodel import make_tiny_llama

MODEL = "acme/Tiny-Llama"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny Llama checkpoint with a trained tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    make_tiny_llama(folder, hidden=512, intermediate=1024, layers=3, shards=2)
    return folder


@pytest.fixture
def hub(model: Path) -> Iterator[LoopbackHub]:
    """Return a loopback hub that serves the model."""
    with LoopbackHub() as hub:
        hub.add(MODEL, read_folder(model))
        yield hub


def test_model_crosses_the_gap_and_runs(tmp_path: Path, hub: LoopbackHub, model: Path) -> None:
    """Pulled with a kill, converted, exported, trusted, imported, installed, generated from."""
    connected = Site(tmp_path / "connected", HF_ENDPOINT=hub.endpoint)
    hub.faults.add(Fault(kind=Kind.SLOW, rate=1_000_000, times=None))
    assert connected.kill_when(lambda: hub.journal.sent() > 4_000_000, "pull", MODEL)
    hub.faults.clear()
    connected.run("pull", MODEL).ok()
    connected.run("convert", MODEL, "--to", "gguf:Q4_K_M", "--to", "gguf:F16").ok()
    usb = tmp_path / "usb"
    exported = connected.run("export", "--bundle", usb, "--volume-size", "8MB", "--json").ok()
    fingerprint = exported.document["fingerprint"]
    assert len(exported.document["volumes"]) > 1
    assert exported.document["key_created"] is True

    closed = closed_site(tmp_path / "closed")
    refused = closed.run("import", usb)
    assert refused.status == 5
    command = f"modelvault trust add {usb} --fingerprint {fingerprint}"
    assert command in refused.stderr
    assert closed.run("list", "--json").ok().document == []
    closed.run("bundle", "verify", usb).ok()
    closed.run(*command.split()[1:]).ok()
    imported = closed.run("import", usb, "--json").ok().document
    assert len(imported["new_artifacts"]) == 3

    folder = tmp_path / "served"
    closed.run("install", MODEL, "--to", "vllm", "--dir", folder, "--as", "tiny").ok()
    for path in model.glob("*.safetensors"):
        assert (folder / "tiny" / path.name).read_bytes() == path.read_bytes()
    store = tmp_path / "ollama"
    closed.run("install", f"{MODEL}:Q4_K_M", "--to", "ollama", "--dir", store).ok()
    blob = max((store / "blobs").glob("sha256-*"), key=lambda path: path.stat().st_size)
    with Model.load(blob) as runtime:
        assert len(runtime.generate(runtime.tokenize("The vault"), 4)) == 4

    shown = closed.run("show", f"{MODEL}:Q4_K_M", "--json").ok().document
    origin = shown["record"]["origin"]
    assert origin["kind"] == "conversion"
    assert origin["parent"] == closed.run("show", MODEL, "--json").ok().document["artifact"]
    assert shown["parents"], "the parent came along in the same bundle"

    closed.run("verify").ok()
    status = closed.run("status", "--json").ok().document
    assert {row["target"] for row in status} == {"vllm", "ollama"}
    for row in status:
        closed.run("uninstall", row["name"], "--from", row["target"]).ok()
    assert not (folder / "tiny").exists()
    assert not list(store.rglob("sha256-*"))
    verbs = [event["verb"] for event in closed.run("history", "--json").ok().document]
    assert [verb for verb in verbs if verb in ("trust add", "import", "install", "uninstall")][
        :1
    ] == ["trust add"]
    assert verbs.count("install") == verbs.count("uninstall") == 2


@pytest.fixture
def medium() -> Iterator[Path]:
    """Return a mounted image below /media: FAT where the kernel knows it, else ext4."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "stick.img"
        point = Path("/media") / f"modelvault-{os.getpid()}"
        try:
            point.mkdir(parents=True)
        except PermissionError:
            require("a folder below /media")
        try:
            if not any(_mounted(image, point, kind) for kind in ("vfat", "ext4")):
                require("loop mounts")
            try:
                yield point
            finally:
                subprocess.run(["umount", str(point)], check=True)
        finally:
            point.rmdir()


def _mounted(image: Path, point: Path, kind: str) -> bool:
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(96 * 1024 * 1024)
    commands = [[f"mkfs.{kind}", str(image)], ["mount", "-o", "loop", str(image), str(point)]]
    environment = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    return all(
        subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0
        for command in commands
    )


def test_import_without_a_folder_finds_the_mounted_medium(
    tmp_path: Path, hub: LoopbackHub, medium: Path
) -> None:
    """The one bundle on mounted media is found; once it is gone, the hint says what to do."""
    connected = Site(tmp_path / "connected", HF_ENDPOINT=hub.endpoint)
    connected.run("pull", MODEL).ok()
    done = connected.run("export", "--bundle", medium, "--json").ok().document
    closed = closed_site(tmp_path / "closed", **only_mounted(tmp_path / "mounts", medium))
    closed.run("trust", "add", medium, "--fingerprint", done["fingerprint"]).ok()
    imported = closed.run("import", "--json").ok()
    assert imported.document["folder"] == str(medium)
    assert len(imported.document["new_artifacts"]) == 1
    shutil.rmtree(medium / "modelvault-bundle")
    none = closed.run("import")
    assert none.status == 3
    assert "hint: mount the medium" in none.stderr


def test_fat_image_takes_the_volumes_and_gives_them_back(tmp_path: Path, hub: LoopbackHub) -> None:
    """Copied into a real FAT image and out again, the bundle is intact and imports."""
    if not shutil.which("mcopy"):
        require("mtools")
    connected = Site(tmp_path / "connected", HF_ENDPOINT=hub.endpoint)
    connected.run("pull", MODEL).ok()
    out, back, image = tmp_path / "out", tmp_path / "back", tmp_path / "stick.img"
    done = connected.run("export", "--bundle", out, "--volume-size", "4MB", "--json").ok()
    with open(image, "wb") as file:
        file.truncate(96 * 1024 * 1024)
    back.mkdir()
    for command in (
        ["mkfs.vfat", str(image)],
        ["mcopy", "-s", "-i", str(image), str(out / "modelvault-bundle"), "::"],
        ["mcopy", "-s", "-i", str(image), "::modelvault-bundle", str(back)],
    ):
        subprocess.run(command, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    closed = closed_site(tmp_path / "closed")
    closed.run("bundle", "verify", back).ok()
    closed.run("trust", "add", back, "--fingerprint", done.document["fingerprint"]).ok()
    closed.run("import", back).ok()
    closed.run("verify").ok()


def test_full_medium_is_refused_before_the_first_byte(tmp_path: Path, hub: LoopbackHub) -> None:
    """An export that does not fit says so, and leaves no bundle behind."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)]
    if subprocess.run(mount, check=False).returncode:
        require("tmpfs mounts")
    try:
        connected = Site(tmp_path / "connected", HF_ENDPOINT=hub.endpoint)
        connected.run("pull", MODEL).ok()
        refused = connected.run("export", "--bundle", small, "--json")
        assert refused.status == 9
        assert json.loads(refused.stderr.splitlines()[-1])["error"] == "NoSpace"
        assert not list(small.rglob("index.json"))
        vault = small / "vault"
        full = connected.run("--vault", vault, "pull", MODEL, "--json")
        assert full.status == 9
        assert json.loads(full.stderr.splitlines()[-1])["error"] == "NoSpace"
    finally:
        subprocess.run(["umount", str(small)], check=True)
