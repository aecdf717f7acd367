"""What we compute beside what llama.cpp says, and beside the figures in circulation.

Large shapes are sparse files of which llama.cpp reads the header and allocates nothing; any GGUF
that is named is measured the same way. Then Llama 3.1 in the quantisations that field guides tell
the memory of, and how long a table of a 70 billion parameter model takes.

Example:
    $ python -m benchmarks.fit
    $ python -m benchmarks.fit /srv/models/*.gguf
"""

import argparse
import tempfile
import time
from pathlib import Path

from modelvault.app.fit.fit import FitOptions, fit
from modelvault.app.fit.subject import open_subject
from modelvault.app.sources import SourceOptions
from modelvault.fit.cache import Load
from modelvault.fit.estimate import Model, estimate
from modelvault.fit.gpus import find_gpu
from modelvault.fit.quantizations import gguf_size
from modelvault.fit.runtimes import find_runtime
from tests.fit.test_circulating import FIGURES, GUIDES_CONTEXT, llama
from tests.fit.test_llamacpp_figures import GIANTS
from tests.support.fits import compare
from tests.support.sparsegguf import make_decoder

LOADS = ((4096, 1, "f16"), (32768, 1, "f16"), (131072, 1, "q8_0"), (8192, 8, "f16"))
MIB = 1024 * 1024


def compare_all(paths: list[Path]) -> None:
    """Print, for each model and load, both sums and how far they are apart."""
    print(f"{'model':28}{'load':>20}{'cache':>10}{'compute':>17}{'theirs':>10}{'off':>9}")
    for path in paths:
        for context, sequences, cache in LOADS:
            found = compare(path, context=context, sequences=sequences, cache=cache, allocate=False)
            print(
                f"{path.stem[:27]:28}{f'{context} x {sequences} {cache}':>20}"
                f"{found.ours.cache / MIB:>10.0f}{found.ours.compute / MIB:>17.2f}"
                f"{found.theirs.compute / MIB:>10.2f}{found.off:>9.2%}"
            )


def compare_figures() -> None:
    """Print the memory that field guides tell of beside ours, in GB."""
    print(f"\n{'Llama 3.1':20}{'guides':>8}{'ours':>8}{'off':>9}   at {GUIDES_CONTEXT} tokens")
    for name, label, _, memory in FIGURES:
        shape, table = llama(name)
        model = Model(shape=shape, weights=gguf_size(table, label, len(shape.layers)))
        total = estimate(model, find_runtime("llamacpp"), Load(context=GUIDES_CONTEXT)).total / 1e9
        print(f"{f'{name} {label}':20}{memory:>8}{total:>8.1f}{total / memory - 1:>9.1%}")


def time_table(path: Path) -> None:
    """Print how long the whole family of a large model takes."""
    began = time.perf_counter()
    with open_subject(str(path), None, SourceOptions()) as subject:
        found = fit(subject, FitOptions(gpu=find_gpu("h100")))
    print(
        f"\n{len(found.table)} quantisations of {path.stem} in {time.perf_counter() - began:.2f} s"
    )


def main() -> None:
    """Run all three parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="*", help="GGUF files; large shapes else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = list(options.models)
        for name, shape in GIANTS.items() if not paths else ():
            paths.append(Path(folder) / f"{name}.gguf")
            make_decoder(paths[-1], **shape)  # type: ignore[arg-type] # each by its own name
        compare_all(paths)
        compare_figures()
        time_table(paths[min(1, len(paths) - 1)])


if __name__ == "__main__":
    main()
