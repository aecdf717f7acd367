"""The same input, seed and threads give the same bytes, wherever memory lies and under load."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.awq.running import make_request
from tests.support.trainedmodel import Family

_CONVERT = """
import json, sys
import torch
from modelvault_converters.awq import __main__ as program

offset = int(sys.argv[1])
program._load()
from modelvault_converters.awq.models.layers import LayerRunner

real = LayerRunner.read

def read(self, number):
    def moved(value):
        flat = torch.empty(value.numel() + 32, dtype=value.dtype)
        start = (-flat.data_ptr() // value.element_size()) % 16 + offset
        return flat[start : start + value.numel()].view(value.shape).copy_(value)

    return {name: moved(value) for name, value in real(self, number).items()}

LayerRunner.read = read
for event in program.serve(sys.stdin.buffer.read()):
    pass
print(type(event).__name__)
"""

_SETTINGS = """
import os
from modelvault_converters.awq import __main__ as program
program._load()
print(os.environ["MKL_CBWR"], os.environ["OMP_WAIT_POLICY"])
"""


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep the cores at work for the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def converted(source: Path, output: Path, offset: int) -> dict[str, bytes]:
    """Return the files of a conversion whose weights lie ``offset`` numbers off a cache line."""
    request = make_request(source, "AWQ", output, samples="4", sequence_length="32")
    data = json.loads(request.encode()) | {"threads": 2}
    done = subprocess.run(
        [sys.executable, "-c", _CONVERT, str(offset)],
        input=json.dumps(data).encode(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.split()[-1] == b"Produced"
    return {path.name: path.read_bytes() for path in output.glob("*.safetensors")}


@pytest.mark.slow
def test_memory_and_load_change_no_byte(trained: Callable[[Family], Path], tmp_path: Path) -> None:
    """Wherever the weights lie in memory, and whatever else the cores have to do."""
    source = trained("llama")
    first = converted(source, tmp_path / "first", 0)
    assert first
    assert converted(source, tmp_path / "moved", 5) == first
    with load(os.cpu_count() or 1):
        assert converted(source, tmp_path / "loaded", 1) == first


def test_libraries_are_told_before_they_are_loaded() -> None:
    """To be reproducible and not to spin; what the user has set is left alone."""
    for given, said in (({}, "AUTO,STRICT passive"), ({"MKL_CBWR": "AVX2"}, "AVX2 passive")):
        bare = {
            name: value
            for name, value in os.environ.items()
            if name not in ("MKL_CBWR", "OMP_WAIT_POLICY")
        }
        done = subprocess.run(
            [sys.executable, "-c", _SETTINGS],
            env={**bare, **given},
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode().strip() == said
