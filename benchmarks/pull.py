"""``modelvault pull`` beside ``hf download`` and ``curl | tee | sha256sum``, from one hub.

Every contestant is its real command line, started fresh, with its start-up time counted
and nothing kept from an earlier run. Ours ends with the bytes hashed and on disk; the
others hash nothing (hf) and flush nothing (both). Runs alternate, because the state of the
host's memory and disk changes between them. The hub is the loopback hub of the tests, in a
process of its own; the first, uncounted round warms it.

Example:
    $ python benchmarks/pull.py --size 2GiB --runs 5 --folder /mnt/scratch
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelvault.bundle.layouts import parse_volume_size

ROOT = Path(__file__).resolve().parent.parent
MODEL = "bench/model"
FILE = "model.safetensors"
CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one contestant."""

    seconds: float
    cpu: float
    """Seconds of processor time, user and system, of the command and its children."""
    peak: int
    """Largest resident set of one process, in bytes."""


def write_model(folder: Path, size: int) -> None:
    """Write a valid weight file of ``size`` random bytes, and a small one beside it."""
    folder.mkdir()
    folder.joinpath("config.json").write_text('{"model_type": "llama"}\n')
    length = size - 8 - 1024
    tensor = {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}
    header = json.dumps({"weight": tensor}).encode().ljust(1024)
    with open(folder / FILE, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        while length:
            file.write(os.urandom(min(CHUNK, length)))
            length -= min(CHUNK, length)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder in another process for the block; yield the endpoint."""
    command = [sys.executable, "-m", "tests.support.hub", "--folder", str(folder), "--as", MODEL]
    hub = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert hub.stdout is not None
        yield hub.stdout.readline().strip()
    finally:
        hub.terminate()
        hub.communicate()


def contestants(endpoint: str, scratch: Path) -> dict[str, list[str]]:
    """Return name → command; each writes below ``scratch``."""
    binaries = Path(sys.executable).parent
    url = f"{endpoint}/{MODEL}/resolve/main/{FILE}"
    ours = [binaries / "modelvault", "--quiet", "--vault", scratch / "vault"]
    pipeline = f'set -o pipefail; curl -sfL "{url}" | tee "{scratch}/file" | sha256sum'
    return {
        "modelvault pull": [*map(str, ours), "pull", MODEL, "--endpoint", endpoint],
        "hf download": [str(binaries / "hf"), "download", MODEL, "--local-dir", str(scratch / "l")],
        "curl|tee|sha256sum": ["bash", "-c", pipeline],
    }


def run(command: list[str], endpoint: str, scratch: Path) -> Run:
    """Run a command in an empty folder, with the client's caches there as well."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    os.sync()  # nobody pays for what the run before left unwritten
    environment = {
        **os.environ,
        "HF_HOME": str(scratch / "home"),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    with open(scratch / "output", "wb") as output:
        began = time.monotonic()
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{command}: {(scratch / 'output').read_text()}")
    shutil.rmtree(scratch)
    cpu = usage.ru_utime + usage.ru_stime
    return Run(seconds=seconds, cpu=cpu, peak=usage.ru_maxrss * 1024)


def report(results: dict[str, list[Run]], size: int) -> None:
    """Print medians, and how ours compares."""
    medians = {name: statistics.median(r.seconds for r in runs) for name, runs in results.items()}
    ours = next(iter(medians.values()))
    print(
        f"{'':22}{'median':>9}{'min':>9}{'max':>9}{'MB/s':>8}{'CPU s':>8}{'peak MB':>9}{'ratio':>8}"
    )
    for name, runs in results.items():
        seconds = [one.seconds for one in runs]
        print(
            f"{name:22}{medians[name]:8.2f}s{min(seconds):8.2f}s{max(seconds):8.2f}s"
            f"{size / medians[name] / 1e6:8.0f}{statistics.median(r.cpu for r in runs):8.2f}"
            f"{max(r.peak for r in runs) / 1e6:9.0f}{medians[name] / ours:7.2f}x"
        )
    print("ratio: how many times as long as modelvault pull")


def main() -> None:
    """Make a model, serve it, let everybody fetch it in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="2GiB", help="bytes, or with a unit such as 2GiB")
    parser.add_argument("--runs", type=int, default=5, help="rounds, after one that is not counted")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    size = parse_volume_size(options.size)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        write_model(folder / "model", size)
        with serving(folder / "model") as endpoint:
            commands = contestants(endpoint, folder / "scratch")
            results: dict[str, list[Run]] = {name: [] for name in commands}
            for number in range(options.runs + 1):
                for name, command in commands.items():
                    result = run(command, endpoint, folder / "scratch")
                    if number:
                        results[name].append(result)
                    print(f"{number}: {name}: {result.seconds:.2f} s", file=sys.stderr, flush=True)
        report(results, size)


if __name__ == "__main__":
    main()
