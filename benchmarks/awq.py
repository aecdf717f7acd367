"""What AWQ loses beside AutoAWQ and plain rounding.

Models of many families are trained, quantised by us, by AutoAWQ and by
plain rounding on the same samples, and their divergence from the source on unseen text is
printed, in nats a token and as ratios. AutoAWQ 0.2.9 lives in an environment of its own,
whose Python ``MODELVAULT_AUTOAWQ`` names; without it only plain rounding is compared.

Example:
    $ MODELVAULT_AUTOAWQ=autoawq/bin/python python -m benchmarks.awq --seeds 3
"""

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import geometric_mean

from benchmarks import losses, trained
from benchmarks.awq_cost import measure


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=trained.FAMILIES, choices=trained.FAMILIES)
    parser.add_argument("--seeds", type=int, default=1, help="models of each family")
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=128, help="channels of the models")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--even", action="store_true", help="raise no channel's activations")
    parser.add_argument("--work", type=Path, help="keeps models and AutoAWQ's results")
    options = parser.parse_args()
    with ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shape = trained.Shape(width=options.width, layers=options.layers, raised=not options.even)
        _compare(losses.Place(work, shape), options)


def _compare(place: losses.Place, options: argparse.Namespace) -> None:
    """Print a line a model, and the geometric mean of the ratios of each family."""
    beside = losses.AUTOAWQ in os.environ
    if not beside:
        print(f"{losses.AUTOAWQ} names no Python: without AutoAWQ", flush=True)
    print("divergence in nats a token, ratios, perplexities, seconds", flush=True)
    ratios: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        for family in options.families:
            found = _compare_one(place, family, seed, options.group_size, beside=beside)
            for name, ratio in found.items():
                ratios.setdefault(f"{family}: ours / {name}", []).append(ratio)
    for name, values in sorted(ratios.items()):
        print(f"{name} {geometric_mean(values):.3f} ({min(values):.3f} … {max(values):.3f})")


def _compare_one(
    place: losses.Place, family: losses.Family, seed: int, group: int, *, beside: bool
) -> dict[str, float]:
    """Print one model's losses; return ours relative to the others'."""
    source = place.model(family, seed)
    given = {
        "calibration": str(place.calibration(seed)),
        "samples": str(losses.SAMPLES),
        "sequence_length": str(losses.LENGTH),
        "group_size": str(group),
        "seed": str(seed),
    }
    with tempfile.TemporaryDirectory() as output:
        request = losses.make_request(source, "AWQ", output, given)
        made, seconds = {"ours": Path(output)}, {}
        if beside:
            made["autoawq"], seconds["autoawq"] = place.autoawq(source, request, group)
        start = time.monotonic()
        measure(request)
        seconds["ours"] = time.monotonic() - start
        found = losses.compare(source, made, place.held_out)
    ours = found["ours"].divergence
    ratios = {
        name: ours / found[name].divergence for name in found if name not in ("ours", "source")
    }
    parts = [
        *(f"{name} {loss.divergence:.5f}" for name, loss in found.items() if name != "source"),
        *(f"ours/{name} {ratio:.3f}" for name, ratio in ratios.items()),
        *(f"ppl {name} {loss.perplexity:.3f}" for name, loss in found.items()),
        *(f"{name} {value:.0f} s" for name, value in seconds.items()),
    ]
    print(f"{source.name}: " + ", ".join(parts), flush=True)
    return ratios


if __name__ == "__main__":
    main()
