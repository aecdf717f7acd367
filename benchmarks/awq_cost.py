"""What a conversion for vLLM costs: seconds a layer, and memory beside the layer's size.

A synthetic Llama of 1.27 billion parameters, or a model of yours, is converted in a child
process as the vault does it. Printed are the seconds of each layer's steps and the peaks of
the child's memory: all that is resident, and what is its own (pages of files that the kernel
can take back are left out). Beside them stands the budget: the largest layer in bf16 and in
f32, the activations of one sequence on its way through it, and 500 MB. The activations of all
sequences lie in files.

Example:
    $ python -m benchmarks.awq_cost --samples 128 --work /mnt/scratch
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import losses, trained
from modelvault.core.protocol import Failed, Produced, Request, Stepped, parse_event
from modelvault_converters.awq.models.weights import Weights
from modelvault_converters.checkpoint import Checkpoint
from tests.support.tinymodel import make_tiny_llama

TARGETS = ("FP8", "INT8", "AWQ", "W4A16")
CALIBRATED = ("AWQ", "W4A16")
LENGTH = 512
MB = 1_000_000


@dataclass(slots=True, kw_only=True)
class Cost:
    """What a child took."""

    seconds: float = 0.0
    layers: list[float] = field(default_factory=list)
    """Seconds of each layer."""
    resident: int = 0
    """Peak, bytes."""
    own: int = 0
    """Peak without pages of files, bytes."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Of the result."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="a model of yours")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--layers", type=int, default=16, help="of the synthetic model")
    parser.add_argument("--targets", nargs="+", default=["FP8", "AWQ"], choices=TARGETS)
    parser.add_argument("--device", default="cpu", help="where AWQ computes: cpu, cuda, cuda:N")
    parser.add_argument("--work", type=Path, help="where models and results lie")
    options = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.work)))
        calibration = place / "calibration.txt"
        calibration.write_text("\n".join(trained.read_texts()[:400]), encoding="utf-8")
        folder = options.folder or make_model(place / "llama", options.layers)
        parameters, budget = weigh(folder)
        print(f"{folder.name}: {parameters / 1e9:.2f} billion parameters, budget of memory")
        print(f"    {budget / MB:.0f} MB", flush=True)
        for target in options.targets:
            given = {"samples": str(options.samples), "sequence_length": str(LENGTH)}
            given |= {"calibration": str(calibration), "device": options.device}
            output = stack.enter_context(tempfile.TemporaryDirectory(dir=options.work))
            asked = given if target in CALIBRATED else {}
            cost = measure(losses.make_request(folder, target, output, asked))
            tell(target, cost, quality=options.folder is not None)


def make_model(folder: Path, layers: int) -> Path:
    """Return a Llama with the shape of Llama 3.2 1B, of random weights."""
    make_tiny_llama(
        folder, hidden=2048, intermediate=8192, layers=layers, vocabulary_rows=128256, tied=True
    )
    return folder


def weigh(folder: Path) -> tuple[int, int]:
    """Return a model's number of weights, and the bytes that converting it may take."""
    with ExitStack() as stack:
        files = losses.make_request(folder, "AWQ", str(folder), {}).files
        tensors = Weights(Checkpoint(files), stack).tensors
        sizes: dict[str, int] = {}
        widest = max(stored.shape[0] for stored in tensors.values() if "layers" in stored.name)
        for stored in tensors.values():
            if stored.name.startswith("model.layers."):
                layer = stored.name.split(".")[2]
                sizes[layer] = sizes.get(layer, 0) + stored.count
        hidden = tensors["model.norm.weight"].shape[0]
        activations = 4 * LENGTH * (6 * hidden + 4 * widest)  # as they come and go in a block
        total = sum(stored.count for stored in tensors.values())
    return total, max(sizes.values()) * (2 + 4) + activations + 500 * MB


def measure(request: Request) -> Cost:
    """Return what one conversion in a child takes."""
    command = [sys.executable, "-P", "-m", "modelvault_converters.awq"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(request.encode())
    child.stdin.close()
    cost = Cost()
    watcher = threading.Thread(target=_watch, args=(child, cost))
    watcher.start()
    start = before = time.monotonic()
    layer = 0
    for line in child.stdout:
        event = parse_event(line)
        if isinstance(event, Failed):
            sys.exit(f"{event.error}: {event.message}")
        if isinstance(event, Produced):
            cost.parameters.update(event.parameters)
        if isinstance(event, Stepped) and event.layer != layer:
            now = time.monotonic()
            cost.layers += [now - before] if layer else []
            layer, before = event.layer, now
    cost.layers += [time.monotonic() - before] if layer else []
    cost.seconds = time.monotonic() - start
    if child.wait() != 0:
        sys.exit(f"the converter ended with status {child.returncode}")
    watcher.join()
    return cost


def tell(target: str, cost: Cost, *, quality: bool) -> None:
    """Print a result; what it lost, too, unless the weights are random."""
    print(
        f"{target}: {cost.seconds:.1f} s, at most {cost.resident / MB:.0f} MB resident, "
        f"{cost.own / MB:.0f} MB its own"
    )
    if cost.layers:
        ordered = sorted(cost.layers)
        print(
            f"    {len(ordered)} layers, {ordered[len(ordered) // 2]:.1f} s each "
            f"({ordered[0]:.1f} … {ordered[-1]:.1f})"
        )
    for name, value in cost.parameters.items() if quality else ():
        if name.startswith(("kl.", "perplexity.")):
            print(f"    {name} {value}")
    sys.stdout.flush()


def _watch(child: "subprocess.Popen[bytes]", cost: Cost) -> None:
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            return
        found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if "VmHWM" in found:
            cost.resident = max(cost.resident, int(found["VmHWM"].split()[0]) * 1024)
            cost.own = max(cost.own, int(found["RssAnon"].split()[0]) * 1024)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
