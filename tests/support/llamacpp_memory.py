"""What llama.cpp itself says it allocates: weights, caches, compute buffers, off its log.

Two ways: a real load, for models that are small; or the one by which llama.cpp fits its own
parameters (``no_alloc``), which computes every buffer and allocates none, so that a sparse file
with the header of a 70 billion parameter model is measured in a second.

Example:
    >>> measure(Path("/tmp/tiny.gguf"), context=4096).cache
    4194304
"""

import ctypes
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.support.llamacpp import RuntimeRefused, library

_MIB = 1024 * 1024
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
_LINES: list[str] = []


def _keep(_level: int, text: bytes, _data: object) -> None:
    _LINES.append(text.decode("utf-8", "replace"))


_LOGGER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_keep)
_MODEL = re.compile(r"load_tensors: .*model buffer size =\s*([\d.]+) MiB")
_CACHE = re.compile(r"_cache: size =\s*([\d.]+) MiB")
_STATES = re.compile(r"recurrent: size =\s*([\d.]+) MiB")
_OUTPUT = re.compile(r"output buffer size =\s*([\d.]+) MiB")
_COMPUTE = re.compile(r"compute buffer size =\s*([\d.]+) MiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Bytes, to the hundredth of a MiB that is printed."""

    weights: int
    """0 where nothing was allocated."""
    cache: int
    states: int
    compute: int
    """Of the compute buffer and the one that answers are read from."""


def measure(
    path: Path,
    *,
    context: int,
    sequences: int = 1,
    cache: str = "f16",
    allocate: bool = True,
) -> Figures:
    """Return what llama.cpp says of a model, as its server would load it.

    Args:
        path: A GGUF.
        context: Tokens of each sequence.
        sequences: How many at once.
        cache: Key of ``TYPES``.
        allocate: Whether memory is really taken; a sparse file is only computed with.

    Raises:
        RuntimeRefused: llama.cpp does not load it.
    """
    opened = library()
    _LINES.clear()
    opened.llama_log_set(ctypes.cast(_LOGGER, ctypes.c_void_p), None)
    model = opened.llama_model_load_from_file(str(path).encode(), _model_block(allocate=allocate))
    if not model:
        raise RuntimeRefused("".join(_LINES[-5:]))
    try:
        block = _context_block(context * sequences, sequences, TYPES[cache])
        made = opened.llama_init_from_model(model, block)
        if not made:
            raise RuntimeRefused("".join(_LINES[-5:]))
        opened.llama_free(made)
    finally:
        opened.llama_model_free(model)
    text = "".join(_LINES)
    return Figures(
        weights=_sum(_MODEL, text),
        cache=_sum(_CACHE, text),
        states=_sum(_STATES, text),
        compute=_sum(_COMPUTE, text) + _sum(_OUTPUT, text),
    )


def _model_block(*, allocate: bool) -> ctypes.Structure:
    """Return the defaults, without repacking and without mapping: buffers are then told of."""
    block: ctypes.Structure = library().llama_model_default_params()
    data = memoryview(block.data).cast("B")
    assert struct.unpack_from("<iii", data, 16) == (-1, 1, -1), "another llama_model_params"
    assert bytes(data[72:77]) == b"\0\0\1\0\0", "another llama_model_params"
    struct.pack_into("<i", data, 24, 0)
    data[74] = 0
    data[76] = not allocate
    return block


def _context_block(context: int, sequences: int, cache: int) -> ctypes.Structure:
    """Return the defaults of the server: windows are kept to, flash attention where it goes."""
    block: ctypes.Structure = library().llama_context_default_params()
    data = memoryview(block.data).cast("B")
    assert struct.unpack_from("<IIII", data, 0) == (512, 2048, 512, 1), "other numbers"
    assert struct.unpack_from("<ii", data, 104) == (1, 1), "another place of the cache types"
    assert bytes(data[136:142]) == b"\0\1\1\1\1\0", "another place of swa_full"
    struct.pack_into("<I", data, 0, context)
    struct.pack_into("<I", data, 12, sequences)
    struct.pack_into("<ii", data, 104, cache, cache)
    data[140] = 0
    return block


def _sum(pattern: re.Pattern[str], text: str) -> int:
    return round(sum(float(found) for found in pattern.findall(text)) * _MIB)
