"""The packages gguf and safetensors beside our readers and writers of the same formats.

A synthetic Llama of some hundred MB of BF16 becomes an F16 GGUF in three ways: by our converter,
by ``gguf.GGUFWriter`` fed with the weights that ``safetensors`` loads, and by the same with its
temporary file. Then that GGUF, with 128 thousand tokens, is opened: by ``core.gguf`` and by
``gguf.GGUFReader``. Last the checkpoint is read, tensor by tensor: by our reader and by
``safetensors``, whole and while it loses its end. Each runs in a process of its own: seconds,
peak memory above the imports, and how it ended.

Example:
    $ python -m benchmarks.containers --layers 6
"""

import argparse
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

TOKENS = 128_256
SINGLE = "model.safetensors"


def main() -> None:
    """Make the model, run every case, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=6, help="blocks of 84 MB")
    parser.add_argument("--folder", type=Path, help="where the files go")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case is not None:
        print(json.dumps(_measure(CASES[given.case][2], given.folder)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        size = _prepare(Path(folder), given.layers)
        print(f"{size / 1e6:.0f} MB of BF16")
        for number, (what, how, _) in enumerate(CASES):
            command = [sys.executable, "-m", "benchmarks.containers", "--case", str(number)]
            shutil.copy(Path(folder) / "whole", Path(folder) / "model" / SINGLE)
            run = subprocess.run([*command, "--folder", folder], capture_output=True, check=False)
            if run.returncode:
                text = run.stderr.decode().strip().rpartition("\n")[2][:80]
                print(f"{what:24} {how:32} status {run.returncode} {text}")
                continue
            found = json.loads(run.stdout)
            print(f"{what:24} {how:32} {found['seconds']:7.2f} s {found['mb']:7.0f} MB")


def _prepare(folder: Path, layers: int) -> int:
    from tests.support.tinymodel import make_tiny_llama

    make_tiny_llama(folder / "model", kind="bpe", hidden=2048, layers=layers, intermediate=5632)
    _write_many_tokens(folder / "tokens.gguf")
    shutil.copy(folder / "model" / SINGLE, folder / "whole")
    return (folder / "whole").stat().st_size


def _write_many_tokens(path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list([f"token {number}" for number in range(TOKENS)])
    writer.add_token_types([1] * TOKENS)
    writer.add_token_merges([f"a {number}" for number in range(2 * TOKENS)])
    writer.add_tensor("output_norm.weight", np.ones(2048, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _measure(action: Callable[[Path], None], folder: Path) -> dict[str, float]:
    for library in ("gguf", "torch", "safetensors.torch", "tests.gguf.running"):
        importlib.import_module(library)
    before = _peak()
    start = time.perf_counter()
    action(folder)
    return {"seconds": time.perf_counter() - start, "mb": _peak() - before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _write_ours(folder: Path) -> None:
    from tests.gguf.running import convert

    convert(folder / "model", "F16", folder / "ours")


def _write_theirs(folder: Path, *, temporary: bool = False) -> None:
    import gguf
    import torch
    from safetensors import safe_open

    writer = gguf.GGUFWriter(folder / "theirs.gguf", "llama", use_temp_file=temporary)
    with safe_open(folder / "model" / SINGLE, "pt") as source:
        for name in source.offset_keys():
            writer.add_tensor(name, source.get_tensor(name).to(torch.float16).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _open_ours(folder: Path) -> None:
    from modelvault.core import gguf

    path = folder / "tokens.gguf"
    with open(path, "rb") as file:
        gguf.read_header(file, path.stat().st_size)


def _open_theirs(folder: Path) -> None:
    import gguf

    gguf.GGUFReader(folder / "tokens.gguf")


def _read_ours(folder: Path, *, cut: bool = False) -> None:
    from modelvault_converters.checkpoint import Checkpoint
    from modelvault_converters.weights import open_weights
    from tests.gguf.running import make_request

    request = make_request(folder / "model", ["F16"], folder / "none")
    buffer = memoryview(bytearray(4 * 1024 * 1024))
    with ExitStack() as stack:
        found = open_weights(Checkpoint(request.files), stack)
        _cut(folder, cut=cut)
        for entry, file in found.values():
            for at in range(0, entry.size, len(buffer)):
                file.read_into(buffer[: min(len(buffer), entry.size - at)], entry.offset + at)


def _read_theirs(folder: Path, *, cut: bool = False) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model" / SINGLE, "pt") as source:
        _cut(folder, cut=cut)
        for name in source.offset_keys():
            source.get_tensor(name).max()


def _cut(folder: Path, *, cut: bool) -> None:
    """Take the end of the weights away, as a share that fails or a disk that is full may."""
    path = folder / "model" / SINGLE
    if cut:
        os.truncate(path, path.stat().st_size // 2)


CASES: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
    ("write F16", "converter", _write_ours),
    ("write F16", "gguf.GGUFWriter", _write_theirs),
    ("write F16", "gguf.GGUFWriter, temporary file", partial(_write_theirs, temporary=True)),
    ("open GGUF", "core.gguf", _open_ours),
    ("open GGUF", "gguf.GGUFReader", _open_theirs),
    ("read weights", "WeightFile", _read_ours),
    ("read weights", "safetensors.safe_open", _read_theirs),
    ("read weights, cut short", "WeightFile", partial(_read_ours, cut=True)),
    ("read weights, cut short", "safetensors.safe_open", partial(_read_theirs, cut=True)),
)


if __name__ == "__main__":
    main()
