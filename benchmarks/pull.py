"""What ``modelvault pull`` has to reach, each mode against the loopback hub of the tests.

``race``: beside ``hf download`` and ``curl | tee | sha256sum``. Every contestant is its
real command line, started fresh, with its start-up time counted and nothing kept from an
earlier run. Ours ends with the bytes hashed and on disk; the others hash nothing (hf) and
flush nothing (both). Runs alternate, because the state of the host's memory and disk
changes between them; a first, uncounted round warms the hub.

``connections``: the hub gives each connection 60 MB a second; the default number of
connections beside one. ``small``: 5,000 small files, beside ``hf download``. ``kills``:
fifty times killed at a random moment; how much is sent beyond the size, as the hub counts
it. ``interrupts``: twenty times interrupted with Ctrl-C's signal at a random moment; how long
until the command has ended. ``memory``: the largest resident set for a file of 8 GiB.

Example:
    $ python -m benchmarks.pull --mode race --size 2GiB --runs 5 --folder /mnt/scratch
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelvault.bundle.format.layouts.volumes import parse_volume_size

ROOT = Path(__file__).resolve().parent.parent
MODEL = "bench/model"
FILE = "model.safetensors"
CHUNK = 8 * 1024 * 1024
BINARIES = Path(sys.executable).parent
SLOW = 60_000_000
"""Bytes a second of one connection, where the hub is slow."""
SLOWER = 8_000_000
"""The same for the kills: 2 GiB then take half a minute, without any kill."""
KILLS = 50
INTERRUPTS = 20
START = 0.5
"""Seconds until a pull sends its first request for bytes, roughly."""
SMALL_FILES = 5000
INTERRUPTED = 130
"""Exit status after Ctrl-C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one contestant."""

    seconds: float
    cpu: float
    """Seconds of processor time, user and system, of the command and its children."""
    peak: int
    """Largest resident set of one process, in bytes."""


def write_model(folder: Path, size: int, *, sparse: bool = False) -> None:
    """Write a valid weight file of ``size`` random bytes (or a hole), and a small one."""
    folder.mkdir()
    folder.joinpath("config.json").write_text('{"model_type": "llama"}\n')
    length = size - 8 - 1024
    tensor = {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}
    header = json.dumps({"weight": tensor}).encode().ljust(1024)
    with open(folder / FILE, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        if sparse:
            file.truncate(size)
            length = 0
        while length:
            file.write(os.urandom(min(CHUNK, length)))
            length -= min(CHUNK, length)
        file.flush()
        os.fsync(file.fileno())


def write_small_files(folder: Path, count: int) -> int:
    """Write files of some kilobytes in 50 folders; return their bytes."""
    folder.mkdir()
    folder.joinpath("config.json").write_text('{"model_type": "llama"}\n')
    dice = random.Random(5000)
    total = 0
    for number in range(count):
        below = folder / f"part-{number % 50:02}"
        below.mkdir(exist_ok=True)
        size = dice.randrange(100, 16_000)
        (below / f"{number}.json").write_bytes(dice.randbytes(size))
        total += size
    return total


@dataclass(slots=True, kw_only=True)
class Hub:
    """A hub in another process."""

    endpoint: str
    sent: int = 0
    """Bytes of bodies it sent; known once it has ended."""


@contextlib.contextmanager
def serving(folder: Path, *, rate: int = 0) -> Iterator[Hub]:
    """Serve a folder for the block, at most ``rate`` bytes a second on each connection."""
    command = [sys.executable, "-m", "tests.support.hub", "--folder", str(folder), "--as", MODEL]
    with tempfile.TemporaryFile("w+") as journal:
        process = subprocess.Popen(
            [*command, "--rate", str(rate)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=journal,
            text=True,
        )
        assert process.stdout is not None
        hub = Hub(endpoint=process.stdout.readline().strip())
        try:
            yield hub
        finally:
            process.terminate()
            process.communicate()
            journal.seek(0)
            hub.sent = sum(int(line.split()[-1]) for line in journal if line.startswith("cdn GET"))


def ours(endpoint: str, scratch: Path, *options: str) -> list[str]:
    """Return our command; it writes below ``scratch``."""
    vault = ["--quiet", "--vault", str(scratch / "vault")]
    return [str(BINARIES / "modelvault"), *vault, "pull", MODEL, "--endpoint", endpoint, *options]


def theirs(scratch: Path) -> list[str]:
    """Return the command of the Hub's own client."""
    return [str(BINARIES / "hf"), "download", MODEL, "--local-dir", str(scratch / "local")]


def environment(endpoint: str, scratch: Path) -> dict[str, str]:
    """Return variables that keep a client's caches below ``scratch``."""
    changes = {"HF_HOME": str(scratch / "home"), "HF_ENDPOINT": endpoint}
    return {**os.environ, **changes, "HF_HUB_DISABLE_TELEMETRY": "1"}


def run(command: list[str], endpoint: str, scratch: Path) -> Run:
    """Run a command in an empty folder, with the client's caches there as well."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    os.sync()  # nobody pays for what the run before left unwritten
    with open(scratch / "output", "wb") as output:
        began = time.monotonic()
        child = subprocess.Popen(
            command, env=environment(endpoint, scratch), stdout=output, stderr=output
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{command}: {(scratch / 'output').read_text()}")
    shutil.rmtree(scratch)
    cpu = usage.ru_utime + usage.ru_stime
    return Run(seconds=seconds, cpu=cpu, peak=usage.ru_maxrss * 1024)


def compare(
    commands: dict[str, list[str]], endpoint: str, scratch: Path, *, runs: int, size: int
) -> None:
    """Run the commands in turns, after one round that is not counted; print the table."""
    results: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            result = run(command, endpoint, scratch)
            if number:
                results[name].append(result)
            print(f"{number}: {name}: {result.seconds:.2f} s", file=sys.stderr, flush=True)
    medians = {name: statistics.median(r.seconds for r in all_) for name, all_ in results.items()}
    first = next(iter(medians))
    print(
        f"{'':22}{'median':>9}{'min':>9}{'max':>9}{'MB/s':>8}{'CPU s':>8}{'peak MB':>9}{'ratio':>8}"
    )
    for name, all_ in results.items():
        seconds = [one.seconds for one in all_]
        print(
            f"{name:22}{medians[name]:8.2f}s{min(seconds):8.2f}s{max(seconds):8.2f}s"
            f"{size / medians[name] / 1e6:8.0f}{statistics.median(r.cpu for r in all_):8.2f}"
            f"{max(r.peak for r in all_) / 1e6:9.0f}{medians[name] / medians[first]:7.2f}x"
        )
    print(f"ratio: how many times as long as {first}")


def race(folder: Path, size: int, runs: int) -> None:
    """Compare with the Hub's client and with curl."""
    write_model(folder / "model", size)
    with serving(folder / "model") as hub:
        scratch = folder / "scratch"
        url = f"{hub.endpoint}/{MODEL}/resolve/main/{FILE}"
        pipeline = f'set -o pipefail; curl -sfL "{url}" | tee "{scratch}/file" | sha256sum'
        commands = {
            "modelvault pull": ours(hub.endpoint, scratch),
            "hf download": theirs(scratch),
            "curl|tee|sha256sum": ["bash", "-c", pipeline],
        }
        compare(commands, hub.endpoint, scratch, runs=runs, size=size)


def connections(folder: Path, size: int, runs: int) -> None:
    """Compare the default number of connections with one, where each is slow."""
    write_model(folder / "model", size)
    with serving(folder / "model", rate=SLOW) as hub:
        scratch = folder / "scratch"
        commands = {
            "default": ours(hub.endpoint, scratch),
            "--connections 1": ours(hub.endpoint, scratch, "--connections", "1"),
        }
        compare(commands, hub.endpoint, scratch, runs=runs, size=size)


def small(folder: Path, size: int, runs: int) -> None:
    """Compare with the Hub's client on many small files; ``size`` does not matter."""
    del size
    total = write_small_files(folder / "model", SMALL_FILES)
    with serving(folder / "model") as hub:
        scratch = folder / "scratch"
        commands = {"modelvault pull": ours(hub.endpoint, scratch), "hf download": theirs(scratch)}
        compare(commands, hub.endpoint, scratch, runs=runs, size=total)


def kills(folder: Path, size: int, runs: int) -> None:
    """Kill a pull at random moments, then let it end; ``runs`` does not matter."""
    del runs
    write_model(folder / "model", size)
    scratch = folder / "scratch"
    scratch.mkdir()
    dice = random.Random(50)
    with serving(folder / "model", rate=SLOWER) as hub:
        command = ours(hub.endpoint, scratch)
        settings = environment(hub.endpoint, scratch)
        longest = 1.5 * (START + size / (8 * SLOWER) / KILLS)
        killed = 0
        for _ in range(KILLS):
            child = subprocess.Popen(command, env=settings)
            try:
                child.wait(dice.uniform(0.0, longest))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                killed += 1
        subprocess.run(command, env=settings, check=True)
    subprocess.run(
        [str(BINARIES / "modelvault"), "--vault", str(scratch / "vault"), "verify", MODEL],
        check=True,
    )
    beyond = (hub.sent - size) / size
    print(f"{killed} kills: {hub.sent:,} of {size:,} bytes sent, {beyond:.1%} beyond the size")


def interrupts(folder: Path, size: int, runs: int) -> None:
    """Interrupt pulls at random moments; ``runs`` does not matter."""
    del runs
    write_model(folder / "model", size)
    scratch = folder / "scratch"
    dice = random.Random(20)
    seconds = []
    with serving(folder / "model", rate=SLOWER) as hub:
        settings = environment(hub.endpoint, scratch)
        for _ in range(INTERRUPTS):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            child = subprocess.Popen(ours(hub.endpoint, scratch), env=settings)
            time.sleep(START + dice.uniform(0.5, 4))
            began = time.monotonic()
            child.send_signal(signal.SIGINT)
            if (status := child.wait()) != INTERRUPTED:
                raise SystemExit(f"exit status {status}, not {INTERRUPTED}: use a larger --size")
            seconds.append(time.monotonic() - began)
    print(
        f"{INTERRUPTS} interrupts: ended after {statistics.median(seconds):.2f} s,"
        f" {max(seconds):.2f} s at most"
    )


def memory(folder: Path, size: int, runs: int) -> None:
    """Show the largest resident set for a file four times as large as ``size``."""
    del runs
    write_model(folder / "model", 4 * size, sparse=True)
    with serving(folder / "model") as hub:
        result = run(ours(hub.endpoint, folder / "scratch"), hub.endpoint, folder / "scratch")
    print(
        f"{4 * size:,} bytes: {result.seconds:.1f} s, {4 * size / result.seconds / 1e6:.0f} MB/s,"
        f" at most {result.peak / 1e6:.0f} MB resident"
    )


MODES: dict[str, Callable[[Path, int, int], None]] = {
    "race": race,
    "connections": connections,
    "small": small,
    "kills": kills,
    "interrupts": interrupts,
    "memory": memory,
}


def main() -> None:
    """Run the modes that were asked for, each in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES, action="append", help="default: all of them")
    parser.add_argument("--size", default="2GiB", help="bytes, or with a unit such as 2GiB")
    parser.add_argument("--runs", type=int, default=3, help="rounds, after one that is not counted")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    size = parse_volume_size(options.size)
    for mode in options.mode or MODES:
        print(f"-- {mode}", flush=True)
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            MODES[mode](Path(temporary), size, options.runs)


if __name__ == "__main__":
    main()
