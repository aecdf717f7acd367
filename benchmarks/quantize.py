"""Our quantisation kernel beside ggml's, and whole conversions beside llama.cpp's figures.

First one thread on weights in memory, for every type and every instruction set of this machine:
millions of weights a second and how many times ggml's rate that is; with ``w`` under an
importance matrix. The bytes are compared too.

Then a synthetic Llama of 1.17 billion parameters, 2.3 GB of BF16, from safetensors to each type
in a child process: wall time, processor time and peak memory. On the two shared cores where
llama.cpp 0c1e57098 was measured on a model of 1.1 billion, its converter took 13 to 16 seconds
to F16, and ``llama-quantize`` 37.4 more from there to Q4_K_M.

Example:
    $ python -m benchmarks.quantize --folder /mnt/scratch
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.gguf import kernel, quantize
from converters.gguf.types import GgmlType
from modelvault.core.protocol import Produced, parse_event
from tests.gguf.running import make_request
from tests.support.tinymodel import make_tiny_llama

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
TARGETS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
ROUNDS = 5


def best(action: Callable[[], object]) -> float:
    """Return the seconds of the fastest of a few rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def compare_kernels() -> None:
    """Print one line a type: ggml's rate, and ours by instruction set."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((256, 4096), dtype=np.float32) * np.float32(0.02)
    importance = random.random(4096, dtype=np.float32)
    theirs = quantize.quantizer()
    levels = kernel.Kernel(kernel.LIBRARY).levels
    print(
        f"one thread, million weights a second{'':6}ggml  " + "  ".join(f"{x:>16}" for x in levels)
    )
    for name in TYPES:
        type_ = GgmlType[name]
        for weights in (None, importance):
            expected = theirs.encode(rows, type_, name, weights)
            base = best(lambda: theirs.encode(rows, type_, name, weights))  # noqa: B023
            cells = []
            for level in levels:
                own = kernel.Kernel(kernel.LIBRARY, level)
                made = own.quantize(rows, "F32", type_.number, weights)
                assert made.tobytes() == expected.tobytes()
                taken = best(lambda: own.quantize(rows, "F32", type_.number, weights))  # noqa: B023
                cells.append(f"{rows.size / taken / 1e6:8.1f} ({base / taken:4.1f}x)")
            label = f"{name}{' w' if weights is not None else ''}"
            print(f"  {label:38}{rows.size / base / 1e6:8.1f}  " + "  ".join(cells))


def drop_cache(folder: Path) -> None:
    """Flush the folder's files and drop them from the page cache."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def convert(model: Path, target: str, cold: bool) -> dict[str, float]:
    """Return wall and processor seconds and peak memory of one conversion in a child."""
    if cold:
        drop_cache(model)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        output = Path(folder) / "output"
        request, events = Path(folder) / "request", Path(folder) / "events"
        request.write_bytes(make_request(model, [target], output, threads=0).encode())
        start = time.perf_counter()
        with open(request, "rb") as source, open(events, "wb") as sink:
            child = subprocess.Popen(
                [sys.executable, "-m", "converters.gguf"], stdin=source, stdout=sink
            )
            _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        last = parse_event(events.read_bytes().splitlines()[-1])
        assert isinstance(last, Produced), last
        size = sum(path.stat().st_size for path in output.iterdir())
    cpu = used.ru_utime + used.ru_stime
    return {"wall": wall, "cpu": cpu, "peak": used.ru_maxrss * 1024, "size": size}


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where 7 GB are free; a temporary folder else")
    parser.add_argument("--kernel-only", action="store_true", help="leave the conversions out")
    parser.add_argument("--cold", action="store_true", help="drop the source from the page cache")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    options = parser.parse_args()
    compare_kernels()
    if options.kernel_only:
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model = Path(folder) / "model"
        make_tiny_llama(model, hidden=2048, layers=22, intermediate=5632, vocabulary_rows=32000)
        print("1.17 billion parameters from safetensors")
        for target in options.targets:
            found = convert(model, target, options.cold)
            print(
                f"  {target:8}{found['wall']:7.1f} s wall{found['cpu']:7.1f} s processor"
                f"{found['peak'] / 1e6:7.0f} MB peak{found['size'] / 1e6:8.0f} MB"
            )


if __name__ == "__main__":
    main()
