"""Pull through ``olah``, a caching mirror that sites really run.

It brings a web framework of its own, so it runs as a child process and may live in another
environment: ``MODELVAULT_OLAH`` names its Python.

Source: the package olah, 0.5.4.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub
from tests.support.needs import require

MODEL = {
    "config.json": b'{"model_type":"llama"}',
    "sub/notes.txt": b"kept\n",
    "model.safetensors": bytes(range(256)) * 40_000,
}


@pytest.fixture(scope="module")
def python() -> str:
    """Return a Python that has olah."""
    python = os.environ.get("MODELVAULT_OLAH", sys.executable)
    probe = subprocess.run([python, "-c", "import olah"], check=False, capture_output=True)
    if probe.returncode != 0:
        require("olah (MODELVAULT_OLAH names its Python)")
    return python


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return the hub behind the mirror."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", MODEL)
        yield hub


@pytest.fixture
def mirror(python: str, hub: LoopbackHub, tmp_path: Path) -> Iterator[str]:
    """Return the address of a mirror of the hub, with an empty cache."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    upstream = hub.endpoint.removeprefix("http://")
    command = [python, "-W", "ignore", "-m", "olah.server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--hf-scheme", "http", "--hf-netloc", upstream]
    command += ["--hf-lfs-netloc", upstream, "--repos-path", str(tmp_path / "cache")]
    command += ["--log-path", str(tmp_path / "logs")]
    with open(tmp_path / "mirror.log", "wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        try:
            _await(f"http://127.0.0.1:{port}/", process, tmp_path / "mirror.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once the mirror answers anything at all."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=30).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"olah does not start:\n{log.read_text(errors='replace')[-2000:]}")


def test_pull_through_a_real_mirror_and_again_from_its_cache(
    hub: LoopbackHub, mirror: str, tmp_path: Path
) -> None:
    """Verified both times; the second site's bytes come out of the mirror's cache."""
    first = Site(tmp_path / "first").run("pull", "acme/tiny", "--endpoint", mirror, "--json").ok()
    assert first.document["size"] == sum(map(len, MODEL.values()))
    fetched = len(hub.journal.requests(origin="cdn"))
    assert fetched
    second = Site(tmp_path / "second").run("pull", "acme/tiny", "--endpoint", mirror, "--json").ok()
    assert second.document["manifest"] == first.document["manifest"]
    assert len(hub.journal.requests(origin="cdn")) == fetched


def test_trouble_behind_a_real_mirror_ends_in_the_right_bytes(
    hub: LoopbackHub, mirror: str, tmp_path: Path
) -> None:
    """The mirror passes on a broken body; the pull asks again for what is missing."""
    hub.faults.add(Fault(kind=Kind.CUT, after=1_000_000, times=1))
    site = Site(tmp_path / "site")
    site.run("pull", "acme/tiny", "--endpoint", mirror).ok()
    site.run("verify", "acme/tiny").ok()
