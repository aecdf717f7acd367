"""How long an operator waits for the quick commands.

Times whole processes: ``--version``, ``--help``, and ``list`` with many artefacts in SQLite,
beside an empty Python process and ``hf --help``, alternating, in one run.

Example:
    python -m benchmarks.startup --artifacts 10000 --runs 11
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.core.artifact import Artifact, FolderOrigin, License
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName

LIMITS = {"--version": 150, "--help": 150, "list": 300}
"""Milliseconds that each command may take."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vault = Path(folder) / "vault"
        _fill(vault, options.artifacts)
        ours = [sys.executable, "-m", "modelvault", "--vault", str(vault)]
        script = shutil.which("modelvault", path=str(Path(sys.executable).parent))
        if script:
            ours = [script, "--vault", str(vault)]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "hf --help": [str(Path(sys.executable).with_name("hf")), "--help"],
            **{name: [*ours, name] for name in LIMITS},
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                times[name].append((time.perf_counter() - started) * 1000)
    for name, values in times.items():
        limit = f"  limit {LIMITS[name]} ms" if name in LIMITS else ""
        print(
            f"{name:16} median {statistics.median(values):6.0f} ms  min {min(values):6.0f}{limit}"
        )


def _fill(root: Path, number: int) -> None:
    with Vault.open(root, create=True) as vault:
        vault.catalog.add_artifacts(
            _artifacts(number), event=Event(verb="import", subject="benchmark")
        )


def _artifacts(number: int) -> Iterator[tuple[Artifact, Manifest]]:
    for index in range(number):
        digest = Digest.of(str(index).encode())
        manifest = Manifest.of(
            [FileEntry(path="model.safetensors", digest=digest, size=index * 1_000_003)]
        )
        artifact = Artifact(
            model=ModelName(org=f"org-{index % 97}", name=f"model-{index}"),
            revision=manifest.digest.hex[:40],
            variant=None,
            format="safetensors",
            quantization=None,
            manifest=manifest.digest,
            license=License(id="apache-2.0"),
            card={},
            origin=FolderOrigin(label="benchmark"),
        )
        yield artifact, manifest


if __name__ == "__main__":
    main()
