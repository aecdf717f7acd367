"""The GPUs of this machine, as NVIDIA's library or its program tells them.

The library is the optional package ``nvidia-ml-py`` (extra ``gpu``); without it ``nvidia-smi`` is
asked, which every driver brings. Neither is needed: a GPU can be named.
"""

import csv
import importlib
import logging
import shutil
import subprocess
from typing import Any

from modelvault.fit.gpus import Gpu

_log = logging.getLogger(__name__)

_SECONDS = 10.0
_LIBRARY = "pynvml"
_PROGRAM = "nvidia-smi"
_QUERY = ("--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits")
_MIB = 1024 * 1024


def read_local_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine, those with the most free memory first; empty without."""
    found = _ask_library()
    if found is None:
        found = _ask_program()
    return tuple(sorted(found, key=lambda gpu: -gpu.free))


def _ask_library() -> list[Gpu] | None:
    """Return what the library tells; None where it is not there or cannot tell."""
    try:
        library: Any = importlib.import_module(_LIBRARY)
    except ImportError:
        return None
    try:
        library.nvmlInit()
        try:
            count = library.nvmlDeviceGetCount()
            return [_describe(library, number) for number in range(count)]
        finally:
            library.nvmlShutdown()
    except library.NVMLError as error:
        _log.info("%s cannot tell: %s", _LIBRARY, error)
        return None


def _describe(library: Any, number: int) -> Gpu:
    handle = library.nvmlDeviceGetHandleByIndex(number)
    memory = library.nvmlDeviceGetMemoryInfo(handle)
    name = library.nvmlDeviceGetName(handle)
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return Gpu(name=text, memory=int(memory.total), used=int(memory.used))


def _ask_program() -> list[Gpu]:
    program = shutil.which(_PROGRAM)
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        _log.info("%s cannot tell: %s", _PROGRAM, error)
        return []
    return [gpu for row in csv.reader(answer.stdout.splitlines()) if (gpu := _parse(row))]


def _parse(row: list[str]) -> Gpu | None:
    """Return the GPU of a line; None for one that shares the host's memory and says so."""
    fields = [field.strip() for field in row]
    if len(fields) != 3 or not fields[1].isdigit():
        _log.info("%s says %r, which is no GPU's memory", _PROGRAM, row)
        return None
    used = int(fields[2]) if fields[2].isdigit() else 0
    return Gpu(name=fields[0], memory=int(fields[1]) * _MIB, used=used * _MIB)
