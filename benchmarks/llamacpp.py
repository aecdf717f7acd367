"""llama.cpp's own converter and quantiser, run beside ours where this machine has them.

``MODELVAULT_LLAMA_CPP`` is a checkout or an unpacked source distribution of llama.cpp, with
``convert_hf_to_gguf.py``; ``MODELVAULT_LLAMA_CPP_PYTHON`` the Python that has what it needs (this
one where it is not said); ``MODELVAULT_LLAMA_QUANTIZE`` the built ``llama-quantize``. What is not
there is compared with figures that were once measured, and the output says so.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

RECORDED = {"F16": 13.0, "Q4_K_M": 37.4}
"""Seconds of wall time, once measured on two shared cores, for 1.1 billion parameters."""

RECORDED_AS = "recorded once on two shared cores, llama.cpp 0c1e57098, 1.1 billion parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a command took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, of all its threads."""
    peak: int
    """Bytes of memory at most."""

    def __str__(self) -> str:
        """Return the three as a part of a line."""
        return f"{self.wall:7.1f} s wall{self.cpu:7.1f} s processor{self.peak / 1e6:7.0f} MB peak"


def measure(
    command: Sequence[str], *, source: IO[bytes] | None = None, sink: IO[bytes] | None = None
) -> Used:
    """Return what a command took that must succeed.

    Args:
        command: Program and arguments.
        source: Its standard input; none is empty.
        sink: Its standard output; none is kept back and shown if it fails.
    """
    start = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdin=source or subprocess.DEVNULL,
        stdout=sink or subprocess.DEVNULL,
        stderr=None if sink else subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} failed with status {child.returncode}: {command}")
    return Used(wall=wall, cpu=used.ru_utime + used.ru_stime, peak=used.ru_maxrss * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where llama.cpp's programs are; empty for one that is not there."""

    converter: str
    python: str
    quantizer: str

    def convert(self, model: Path, output: Path) -> Used:
        """Return what its converter takes to write ``model`` as F16."""
        return measure(
            [self.python, self.converter, str(model), "--outtype", "f16", "--outfile", str(output)]
        )

    def quantize(self, source: Path, output: Path, target: str) -> Used:
        """Return what its quantiser takes from an F16 file, with a thread a processor."""
        threads = str(len(os.sched_getaffinity(0)))
        return measure([self.quantizer, str(source), str(output), target, threads])


def find_tools() -> Tools:
    """Return the programs that the environment names.

    Raises:
        SystemExit: A variable names something that is not there, or is missing.
    """
    folder = os.environ.get("MODELVAULT_LLAMA_CPP", "")
    tools = Tools(
        converter=str(Path(folder) / "convert_hf_to_gguf.py") if folder else "",
        python=os.environ.get("MODELVAULT_LLAMA_CPP_PYTHON", sys.executable),
        quantizer=os.environ.get("MODELVAULT_LLAMA_QUANTIZE", ""),
    )
    if tools.quantizer and not tools.converter:
        raise SystemExit(
            "MODELVAULT_LLAMA_QUANTIZE needs MODELVAULT_LLAMA_CPP, which makes its F16"
        )
    for path in (tools.converter, tools.quantizer):
        if path and not Path(path).is_file():
            raise SystemExit(f"{path} is not there")
    return tools
