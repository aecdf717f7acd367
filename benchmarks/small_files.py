"""Twenty thousand small files through pull, export and import, beside ``cp -r`` and ``tar``.

Every contestant is its real command line, started fresh, with its start-up time counted. Ours
end with everything hashed and on the disk; a ``sync`` stands behind theirs. Runs alternate,
because the state of the host's memory and disk changes between them.

Example:
    $ python -m benchmarks.small_files --files 20000 --runs 3 --folder /mnt/scratch
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BINARIES = Path(sys.executable).parent
FOLDERS = 50
LEAST, MOST = 100, 700
"""Bytes of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What one run of one command took."""

    seconds: float
    processor: float
    """Seconds of processor time, user and system, of the command and its children."""


def write_files(folder: Path, count: int) -> None:
    """Write a model with many small files, as a dataset has them."""
    folder.mkdir()
    folder.joinpath("config.json").write_text('{"model_type": "llama"}\n')
    dice = random.Random(20_000)
    for number in range(count):
        below = folder / f"part-{number % FOLDERS:02}"
        below.mkdir(exist_ok=True)
        (below / f"{number}.json").write_bytes(dice.randbytes(dice.randrange(LEAST, MOST)))


def run(*command: str | Path) -> Took:
    """Return what a command takes, started when the disk has nothing left to do."""
    os.sync()
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        child = subprocess.Popen([str(word) for word in command], stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            output.seek(0)
            raise SystemExit(f"{command}: {output.read().decode()}")
    return Took(seconds=seconds, processor=usage.ru_utime + usage.ru_stime)


def vault(root: Path, *words: str | Path) -> Took:
    """Return what one of our commands takes."""
    return run(BINARIES / "modelvault", "--quiet", "--vault", root, *words)


def run_once(folder: Path) -> dict[str, Took]:
    """Return what each step takes, every one from an empty folder."""
    for name in ("copy", "here", "medium", "beyond"):
        shutil.rmtree(folder / name, ignore_errors=True)
    model, medium, beyond = folder / "model", folder / "medium", folder / "beyond"
    medium.mkdir()
    script = 'mkdir "$1" && {} && sync -f "$1"'
    took = {
        "cp -r": run("bash", "-c", script.format('cp -r "$0"/. "$1"'), model, folder / "copy"),
        "pull": vault(folder / "here", "pull", model, "--as", "bench/small"),
    }
    shutil.rmtree(folder / "copy")
    packed = script.format('tar -cf "$1/packed" -C "$0" .')
    took["tar -c"] = run("bash", "-c", packed, model, folder / "copy")
    took["export"] = vault(folder / "here", "export", "--bundle", medium)
    shutil.rmtree(folder / "copy")
    vault(beyond, "trust", "add", medium, "--yes")
    took["cp -r again"] = run(
        "bash", "-c", script.format('cp -r "$0"/. "$1"'), model, folder / "copy"
    )
    took["import"] = vault(beyond, "import", medium)
    return took


def tell(runs: Sequence[dict[str, Took]]) -> None:
    """Print medians, and how many times as long ours take as the copy beside them."""
    median = {name: statistics.median(taken[name].seconds for taken in runs) for name in runs[0]}
    processor = {
        name: statistics.median(taken[name].processor for taken in runs) for name in runs[0]
    }
    for ours, theirs in (("pull", "cp -r"), ("export", "tar -c"), ("import", "cp -r again")):
        print(
            f"{ours:8}{median[ours]:6.2f} s ({processor[ours]:.2f} s of processor);"
            f" {theirs.removesuffix(' again')} and sync {median[theirs]:.2f} s"
            f" ({processor[theirs]:.2f}), ratio {median[ours] / median[theirs]:.1f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="scratch folder on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_files(folder / "model", options.files)
        tell([run_once(folder) for _ in range(options.runs)])


if __name__ == "__main__":
    main()
