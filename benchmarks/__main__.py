"""Run every benchmark, one after the other: ``python -m benchmarks``."""

import subprocess
import sys

BENCHMARKS = (
    "startup", "pull", "engines", "bundle", "small_files", "quantize", "awq", "awq_cost", "fit",
)  # fmt: skip

for name in BENCHMARKS:
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
