"""The kernel under the sanitizers, in a process of its own."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelvault_converters.gguf import kernel
from modelvault_converters.gguf.kernel import BLOCKS, LEVELS, Kernel
from tests.support.needs import require
from tests.support.weights import DISTRIBUTIONS, IMPORTANCES

SOURCES = Path(kernel.__file__).parent
FLAGS = (
    *("-std=c11", "-O1", "-g", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno"),
    *("-fno-trapping-math", "-fno-strict-aliasing", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-psabi"),
)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SHAPE = (3, 1280)
"""Fifteen super-blocks: a full group and a partial one at every instruction set."""


def run_everything(own: Kernel) -> bytes:
    """Return what the kernel makes of all weights, importances and types, one after another."""
    made = bytearray()
    for make in DISTRIBUTIONS.values():
        for choose in IMPORTANCES.values():
            generator = np.random.default_rng(11)
            rows, importance = make(generator, SHAPE), choose(generator, SHAPE[1])
            made += own.halve(rows[:, :-7].copy()).tobytes()
            for type_ in BLOCKS:
                made += own.quantize(rows, "F32", type_, importance).tobytes()
    halves = np.random.default_rng(12).integers(0, 0x4900, SHAPE, dtype=np.uint16)
    for stored in ("BF16", "F16"):
        for type_ in BLOCKS:
            made += own.quantize(halves, stored, type_).tobytes()
    return bytes(made)


def find_compiler() -> str:
    """Return GCC, whose run-time libraries can be loaded before Python's."""
    compiler = shutil.which("gcc")
    return compiler or require("GCC")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the kernel built with the sanitizers, and what must be loaded before it."""
    compiler = find_compiler()
    library = tmp_path_factory.mktemp("sanitized") / "kernel.so"
    sources = sorted(str(source) for source in SOURCES.glob("*.c"))
    runtime = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        require("the address sanitizer's library")
    subprocess.run([compiler, *FLAGS, *SANITIZERS, *sources, "-o", str(library)], check=True)
    return library, runtime


def run_child(code: str, sanitized: tuple[Path, str]) -> subprocess.CompletedProcess[bytes]:
    """Run Python code that is given the library's path, with the sanitizer loaded first."""
    library, runtime = sanitized
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",  # Python keeps what it has
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code, str(library)],
        env=environment,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )


CHILD = """
import hashlib, sys
from modelvault_converters.gguf.kernel import Kernel
from pathlib import Path
from tests.gguf.test_kernel_sanitized import run_everything
own = Kernel(Path(sys.argv[1]), "{level}")
print(hashlib.sha256(run_everything(own)).hexdigest())
"""

OVERRUN = """
import ctypes, sys
import numpy as np
library = ctypes.CDLL(sys.argv[1])
rows, short = np.ones(1024, dtype=np.float32), np.empty(100, dtype=np.uint8)
library.modelvault_quantize(0, 12, ctypes.c_void_p(rows.ctypes.data), 0,
    ctypes.c_void_p(short.ctypes.data), ctypes.c_int64(4), ctypes.c_int64(4), None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_all_weights_pass_the_sanitizers_with_the_same_bytes(
    level: str, sanitized: tuple[Path, str]
) -> None:
    """Every type, weighted or not, from subnormal to absurd: no complaint, and no other byte."""
    try:
        own = Kernel(kernel.LIBRARY, level)
    except OSError as error:
        require(f"the kernel's {level} code ({error})")
    done = run_child(CHILD.format(level=level), sanitized)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == hashlib.sha256(run_everything(own)).hexdigest()


@pytest.mark.slow
def test_sanitizer_sees_an_overrun(sanitized: tuple[Path, str]) -> None:
    """The guard itself works: a result too short for its blocks is reported."""
    done = run_child(OVERRUN, sanitized)
    assert done.returncode != 0
    assert b"heap-buffer-overflow" in done.stderr
