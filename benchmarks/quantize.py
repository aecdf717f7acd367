"""Our quantisation kernel beside ggml's, and whole conversions beside llama.cpp's figures.

First one thread on weights in memory, for every type and every instruction set of this machine:
millions of weights a second and how many times ggml's rate that is; with ``w`` under an
importance matrix. The bytes are compared too.

Then a synthetic Llama of 1.17 billion parameters, 2.3 GB of BF16, from safetensors to each type
in a child process: wall time, processor time and peak memory. llama.cpp's own tools run in turn
with ours, where the environment names them (see ``benchmarks.llamacpp``): its converter for F16,
and for the other types ``llama-quantize`` alone, from an F16 file that is already there.

Example:
    $ python -m benchmarks.quantize --folder /mnt/scratch
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.llamacpp import RECORDED, RECORDED_AS, Tools, Used, find_tools, measure
from modelvault.core.ggml import GgmlType
from modelvault.core.protocol import Produced, parse_event
from modelvault_converters.gguf import kernel, quantize
from tests.gguf.running import make_request
from tests.support.tinymodel import make_tiny_llama

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
TARGETS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
ROUNDS = 5
LAYERS = 22
"""Blocks of a model of 1.17 billion parameters."""


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


def convert(model: Path, target: str, *, cold: bool) -> tuple[Used, int]:
    """Return what one conversion in a child takes, and the bytes of its result."""
    if cold:
        drop_cache(model)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        output = Path(folder) / "output"
        request, events = Path(folder) / "request", Path(folder) / "events"
        request.write_bytes(make_request(model, [target], output, threads=0).encode())
        with open(request, "rb") as source, open(events, "wb") as sink:
            used = measure(
                [sys.executable, "-m", "modelvault_converters.gguf"], source=source, sink=sink
            )
        last = parse_event(events.read_bytes().splitlines()[-1])
        assert isinstance(last, Produced), last
        return used, sum(path.stat().st_size for path in output.iterdir())


def compare_conversions(
    model: Path, targets: Sequence[str], *, cold: bool, runs: int, whole: bool
) -> None:
    """Print, for each target, what ours and theirs take, and the ratio of the medians.

    Args:
        model: What to convert.
        targets: To what.
        cold: Whether the source is dropped from the page cache before each run.
        runs: Rounds, of which the median counts.
        whole: Whether the model is as large as the one of the recorded figures.
    """
    tools = find_tools()
    full = model.parent / "theirs-f16.gguf"
    if tools.quantizer:
        tools.convert(model, full)
    for target in targets:
        ours, theirs = [], []
        for _ in range(runs):
            used, size = convert(model, target, cold=cold)
            ours.append(used)
            their = theirs_for(tools, model, full, target, cold=cold)
            theirs.extend([their] if their else [])
        print(f"  {target:8}{middle(ours)}{size / 1e6:8.0f} MB")
        tool = "converter" if target == "F16" else "llama-quantize"
        if theirs:
            mine, other = middle(ours).wall, middle(theirs).wall
            print(f"  {tool:>14}{middle(theirs)}: {relation(mine, other, target)}")
        elif whole and target in RECORDED:
            said = relation(middle(ours).wall, RECORDED[target], target)
            print(f"  {tool:>14}{RECORDED[target]:7.1f} s wall ({RECORDED_AS}): {said}")


def theirs_for(tools: Tools, model: Path, full: Path, target: str, *, cold: bool) -> Used | None:
    """Return what llama.cpp's tool for a target takes; None where there is none."""
    result = model.parent / "theirs.gguf"
    try:
        if target == "F16":
            if cold:
                drop_cache(model)
            return tools.convert(model, result) if tools.converter else None
        return tools.quantize(full, result, target) if full.exists() else None
    finally:
        result.unlink(missing_ok=True)


def middle(runs: Sequence[Used]) -> Used:
    """Return the run of median wall time."""
    return sorted(runs, key=lambda used: used.wall)[len(runs) // 2]


def relation(ours: float, theirs: float, target: str) -> str:
    """Return ours beside theirs, with the limit that we have set ourselves."""
    if target == "F16":
        return f"ours is {theirs / ours:.1f} times as fast (at least 2)"
    limit = " (at most 0.35)" if "_K" in target else ""
    return f"ours takes {ours / theirs:.2f} of it, from safetensors{limit}"


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where 10 GB are free; a temporary folder else")
    parser.add_argument("--kernel-only", action="store_true", help="leave the conversions out")
    parser.add_argument("--cold", action="store_true", help="drop the source from the page cache")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--runs", type=int, default=1, help="rounds, of which the median counts")
    parser.add_argument("--layers", type=int, default=LAYERS, help="fewer make a smaller model")
    parser.add_argument("--no-kernel", action="store_true", help="leave the kernel out")
    options = parser.parse_args()
    if not options.no_kernel:
        compare_kernels()
    if options.kernel_only:
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model = Path(folder) / "model"
        # SentencePiece: llama.cpp's converter knows byte-level tokenizers by their vocabulary only.
        make_tiny_llama(model, kind="spm", hidden=2048, layers=options.layers,
                        intermediate=5632, vocabulary_rows=32000)  # fmt: skip
        print(f"{parameters(model) / 1e9:.2f} billion parameters from safetensors")
        compare_conversions(model, options.targets, cold=options.cold, runs=options.runs,
                            whole=options.layers == LAYERS)  # fmt: skip


def parameters(model: Path) -> int:
    """Return the number of weights, which are stored in two bytes each."""
    return sum(path.stat().st_size for path in model.glob("*.safetensors")) // 2


if __name__ == "__main__":
    main()
