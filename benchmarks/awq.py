"""What AWQ and FP8 cost, and what they lose.

Runs the converter as the vault does, on a folder or on tiny trained models of each family,
and prints seconds, the child's peak of memory of its own (mapped weight files are not
counted: the kernel takes them back), and, for AWQ, the held-out report.

Example:
    python -m benchmarks.awq --folder /models/llama-1b --samples 16
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from modelvault.core.protocol import Failed, Produced, Request, SourceFile, parse_event
from tests.support.tinymodel import training_text
from tests.support.trainedmodel import Family, train_model

FAMILIES: tuple[Family, ...] = ("llama", "mistral", "qwen2", "qwen3")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--samples", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place) / "corpus.txt"
        corpus.write_text("\n".join(training_text()), encoding="utf-8")
        extra = {"samples": str(options.samples)}
        folders = [options.folder]
        if options.folder is None:
            extra["calibration"] = str(corpus)
            folders = [Path(place) / family for family in FAMILIES]
            for folder, family in zip(folders, FAMILIES):
                train_model(folder, family=family)
        for folder in folders:
            for target in ("FP8", "AWQ"):
                _measure(folder, target, extra)


def _measure(folder: Path, target: str, options: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as output:
        request = Request(
            model=f"bench/{folder.name}",
            revision="0" * 40,
            license="",
            files=tuple(
                SourceFile(path=path.name, location=str(path), size=path.stat().st_size)
                for path in sorted(folder.iterdir())
                if path.is_file()
            ),
            targets=(target,),
            output=output,
            options=options,
        )
        start = time.monotonic()
        result, peak = _run(request)
        seconds = time.monotonic() - start
    print(f"{folder.name} {target}: {seconds:.1f} s, {peak / 1024:.0f} MiB", flush=True)
    for name, value in result.parameters.items():
        if name.startswith(("kl.", "perplexity.", "layer_errors")):
            print(f"    {name} {value}", flush=True)


def _run(request: Request) -> tuple[Produced, int]:
    """Return the result and the peak of the child's own memory, in KiB."""
    command = [sys.executable, "-P", "-m", "converters.awq"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(request.encode())
    child.stdin.close()
    peaks: list[int] = [0]
    watcher = threading.Thread(target=_watch, args=(child, peaks))
    watcher.start()
    found: Produced | None = None
    for line in child.stdout:
        event = parse_event(line)
        if isinstance(event, Failed):
            sys.exit(f"{event.error}: {event.message}\n{json.dumps(event.issues)}")
        if isinstance(event, Produced):
            found = event
    child.wait()
    watcher.join()
    if found is None:
        sys.exit(f"the converter ended with status {child.returncode}")
    return found, max(peaks)


def _watch(child: "subprocess.Popen[bytes]", peaks: list[int]) -> None:
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            return
        peaks += [int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line]
        time.sleep(0.1)


if __name__ == "__main__":
    main()
