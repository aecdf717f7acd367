"""llama.cpp, as far as a check needs it: load a GGUF, tokenise, compute logits.

The runtime is the shared library inside the xllamacpp package, through llama.cpp's C interface.
Its parameter structs come by value and grow from release to release, so they are taken as opaque
blocks: the library fills in its defaults, and a field is set only after its neighbourhood proved
to be what the pinned release has. Another layout is said clearly, never guessed at.

Settings are the safe ones: no repacking of weights (it crashes on some machines with AMX,
llama.cpp #20824), no flash attention, a cache of float32, one sequence.

Source:
    llama.h, of the llama.cpp release that xllamacpp is pinned to.
"""

import ctypes
import functools
import importlib.util
import os
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np

from modelvault.errors import CheckFailed, ConverterMissing
from modelvault_converters.gguf.tensors import Floats

BATCH = 32
"""Tokens that are decoded at once; their logits are in memory together."""

_BLOCK = 1024
"""Bytes a parameter struct may take; the true ones take less than 256."""

PACKAGE = "xllamacpp"
_LOG_LINES = 20


class _Block(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint8 * _BLOCK)]


class _Batch(ctypes.Structure):
    """``llama_batch``."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


_log: deque[str] = deque(maxlen=_LOG_LINES)


def _keep_log(_level: int, text: bytes, _data: object) -> None:
    _log.append(text.decode("utf-8", "replace"))


# Kept for the life of the process: the library holds its address.
_LOGGER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_keep_log)

_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int32
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_log_set": (None, [_POINTER, _POINTER]),
    "llama_backend_init": (None, []),
    "llama_model_default_params": (_Block, []),
    "llama_context_default_params": (_Block, []),
    "llama_model_load_from_file": (_POINTER, [ctypes.c_char_p, _Block]),
    "llama_model_free": (None, [_POINTER]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_init_from_model": (_POINTER, [_POINTER, _Block]),
    "llama_free": (None, [_POINTER]),
    "llama_set_n_threads": (None, [_POINTER, _INTEGER, _INTEGER]),
    "llama_vocab_n_tokens": (_INTEGER, [_POINTER]),
    "llama_vocab_is_eog": (ctypes.c_bool, [_POINTER, _INTEGER]),
    "llama_tokenize": (
        _INTEGER,
        [_POINTER, ctypes.c_char_p, _INTEGER, _POINTER, _INTEGER, ctypes.c_bool, ctypes.c_bool],
    ),
    "llama_token_to_piece": (
        _INTEGER,
        [_POINTER, _INTEGER, ctypes.c_char_p, _INTEGER, _INTEGER, ctypes.c_bool],
    ),
    "llama_decode": (_INTEGER, [_POINTER, _Batch]),
    "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [_POINTER, _INTEGER]),
}


@functools.cache
def open_library() -> ctypes.CDLL:
    """Return llama.cpp, opened once, with its functions' types declared.

    Raises:
        ConverterMissing: The package or one of its exports is missing.
    """
    try:
        library = ctypes.CDLL(_find_library())
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise ConverterMissing(
            f"{PACKAGE} does not offer llama.cpp's interface: {error}"
        ) from error
    library.llama_backend_init()
    return library


def _find_library() -> str:
    found = importlib.util.find_spec(PACKAGE)
    files = sorted(Path(found.origin).parent.glob("*.so")) if found and found.origin else []
    if len(files) != 1:
        raise ConverterMissing(f"the package {PACKAGE}, which checks, is not installed")
    return str(files[0])


def _expect(data: memoryview, form: str, offset: int, values: tuple[int, ...]) -> None:
    """Raise ``ConverterMissing`` unless the library's defaults are where they are expected."""
    if struct.unpack_from(form, data, offset) != values:
        raise ConverterMissing(
            f"{PACKAGE} {version(PACKAGE)} has another interface than this release knows"
        )


def _model_parameters() -> _Block:
    """Return the defaults, without repacking of weights."""
    block: _Block = open_library().llama_model_default_params()
    data = memoryview(block.data).cast("B")
    # n_gpu_layers and split_mode after two pointers, then the flags: vocab_only,
    # check_tensors, use_extra_bufts, no_host, no_alloc.
    _expect(data, "<ii", 16, (-1, 1))
    _expect(data, "5B", 72, (0, 0, 1, 0, 0))
    data[74] = 0
    return block


def _context_parameters(length: int) -> _Block:
    """Return the defaults for ``length`` tokens, with a float32 cache and no flash attention."""
    block: _Block = open_library().llama_context_default_params()
    data = memoryview(block.data).cast("B")
    _expect(data, "<III", 0, (512, 2048, 512))
    _expect(data, "<iiiii", 36, (0, -1, -1, -1, -1))
    _expect(data, "<ii", 104, (1, 1))
    struct.pack_into("<III", data, 0, length, BATCH, BATCH)
    struct.pack_into("<i", data, 52, 0)
    struct.pack_into("<ii", data, 104, 0, 0)
    return block


class Model:
    """A loaded GGUF; use it as a context manager.

    Example:
        with Model(Path("model.gguf"), threads=2) as model:
            ids = model.tokenize("hello")
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        """Load a file.

        Args:
            path: The GGUF.
            threads: Worker threads; 0 for one per core.

        Raises:
            CheckFailed: llama.cpp does not accept it.
            ConverterMissing: llama.cpp is missing or unfit.
        """
        # Set anew each time: another user of the library in this process may have its own.
        open_library().llama_log_set(ctypes.cast(_LOGGER, _POINTER), None)
        _log.clear()
        self._name = path.name
        self.threads = threads or os.cpu_count() or 1
        parameters = _model_parameters()
        self.handle = open_library().llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.handle:
            raise self.failed("does not load")
        self._vocabulary = open_library().llama_model_get_vocab(self.handle)
        self.tokens: int = open_library().llama_vocab_n_tokens(self._vocabulary)
        """Size of the vocabulary."""

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the model."""
        open_library().llama_model_free(self.handle)

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of ``text``, with the special tokens the model begins with.

        Raises:
            CheckFailed: llama.cpp refuses the text.
        """
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 8))()
        count = open_library().llama_tokenize(
            self._vocabulary, data, len(data), room, len(room), True, False
        )
        if count < 0:
            raise self.failed(f"does not tokenise the text ({count})")
        return list(room[:count])

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``."""
        pieces = b""
        for number in ids:
            room = ctypes.create_string_buffer(1024)
            size = open_library().llama_token_to_piece(
                self._vocabulary, number, room, 1024, 0, True
            )
            pieces += room.raw[: max(size, 0)]
        return pieces.decode("utf-8", "replace")

    def logits(self, ids: Sequence[int]) -> Iterator[Floats]:
        """Yield the logits after each token, float32 ``[at most BATCH, tokens]`` at a time.

        Raises:
            CheckFailed: llama.cpp fails, or a logit is NaN or infinite.
        """
        with _Context(self, len(ids)) as context:
            for start in range(0, len(ids), BATCH):
                yield context.decode(ids[start : start + BATCH], start)

    def generate(self, ids: Sequence[int], count: int) -> list[int]:
        """Return what follows ``ids``, the likeliest token each time, up to end or ``count``.

        Raises:
            CheckFailed: llama.cpp fails, or a logit is NaN or infinite.
        """
        result: list[int] = []
        with _Context(self, len(ids) + count) as context:
            for start in range(0, len(ids), BATCH):
                rows = context.decode(ids[start : start + BATCH], start)
            while len(result) < count:
                token = int(rows[-1].argmax())
                if open_library().llama_vocab_is_eog(self._vocabulary, token):
                    break
                result.append(token)
                rows = context.decode([token], len(ids) + len(result) - 1)
        return result

    def failed(self, what: str) -> CheckFailed:
        """Return the error that says what this model does, with llama.cpp's last words."""
        return CheckFailed(
            f"{self._name} {what} in llama.cpp",
            hint="do not use it; report the model and these lines",
            issues=[line.strip() for line in _log if line.strip()][-_LOG_LINES:],
        )


class _Context:
    """A fresh state of a model, for one sequence."""

    def __init__(self, model: Model, length: int) -> None:
        self._owner = model
        self._context = open_library().llama_init_from_model(
            model.handle,
            _context_parameters(max(length, BATCH)),
        )
        if not self._context:
            raise model.failed("gets no context")
        threads = model.threads
        open_library().llama_set_n_threads(self._context, threads, threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        open_library().llama_free(self._context)

    def decode(self, ids: Sequence[int], start: int) -> Floats:
        """Return the logits after each of ``ids``, which follow ``start`` others."""
        count = len(ids)
        sequence = (ctypes.c_int32 * 1)(0)
        batch = _Batch(
            n_tokens=count,
            token=(ctypes.c_int32 * count)(*ids),
            embd=None,
            pos=(ctypes.c_int32 * count)(*range(start, start + count)),
            n_seq_id=(ctypes.c_int32 * count)(*[1] * count),
            seq_id=(ctypes.POINTER(ctypes.c_int32) * count)(
                *[ctypes.cast(sequence, ctypes.POINTER(ctypes.c_int32))] * count
            ),
            logits=(ctypes.c_int8 * count)(*[1] * count),
        )
        library = open_library()
        status = library.llama_decode(self._context, batch)
        if status != 0:
            raise self._owner.failed(f"does not compute ({status})")
        width = self._owner.tokens
        rows = np.empty((count, width), dtype=np.float32)
        for row in range(count):
            pointer = library.llama_get_logits_ith(self._context, row)
            if not pointer:
                raise self._owner.failed("gives no logits")
            rows[row] = np.ctypeslib.as_array(pointer, (width,))
        if not np.isfinite(rows).all():
            raise self._owner.failed("computes NaN or infinity")
        return rows


def runtime_version() -> str:
    """Return the release of the package that carries llama.cpp."""
    return version(PACKAGE)
