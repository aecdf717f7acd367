"""llama.cpp itself, for tests: load a GGUF, tokenize, compute logits, generate.

The runtime is the shared library inside the xllamacpp package, through llama.cpp's C interface.
Its parameter structs come by value and grow from release to release, so they are taken as
opaque blocks of bytes: the library fills in its defaults, and the few fields that are set here
are set only after their neighbourhood proved to be what the pinned release has.

Settings are the safe ones: no repacking of weights (it crashes on some machines with AMX,
llama.cpp #20824), no flash attention, a cache of float32, one sequence.

Example:
    >>> with Model.load(Path("/tmp/tiny.gguf")) as model:
    ...     ids = model.tokenize("hello")
    ...     model.logits(ids).shape
    (2, 1024)
"""

import ctypes
import functools
import importlib.util
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_BLOCK = 1024
"""Bytes a parameter struct may take; the true ones take less than 256."""


class _Block(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint8 * _BLOCK)]


class _Batch(ctypes.Structure):
    """``llama_batch`` of llama.h."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


class RuntimeRefused(Exception):
    """llama.cpp did not do what was asked; its last log lines say why."""


_log: list[str] = []


def _keep_log(_level: int, text: bytes, _data: object) -> None:
    _log.append(text.decode("utf-8", "replace"))
    del _log[:-200]


_LOGGER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_keep_log)


def log() -> str:
    """Return the runtime's last log lines."""
    return "".join(_log)


@functools.cache
def library() -> ctypes.CDLL:
    """Return the opened library."""
    found = importlib.util.find_spec("xllamacpp")
    assert found is not None
    assert found.origin is not None
    (path,) = Path(found.origin).parent.glob("xllamacpp*.so")
    opened = ctypes.CDLL(str(path))
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "llama_log_set": (None, [pointer, pointer]),
        "llama_backend_init": (None, []),
        "llama_model_default_params": (_Block, []),
        "llama_context_default_params": (_Block, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, _Block]),
        "llama_model_free": (None, [pointer]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_init_from_model": (pointer, [pointer, _Block]),
        "llama_free": (None, [pointer]),
        "llama_vocab_n_tokens": (integer, [pointer]),
        "llama_vocab_is_eog": (ctypes.c_bool, [pointer, integer]),
        "llama_tokenize": (
            integer,
            [pointer, ctypes.c_char_p, integer, pointer, integer, ctypes.c_bool, ctypes.c_bool],
        ),
        "llama_token_to_piece": (
            integer,
            [pointer, integer, ctypes.c_char_p, integer, integer, ctypes.c_bool],
        ),
        "llama_decode": (integer, [pointer, _Batch]),
        "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [pointer, integer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(opened, name)
        function.restype, function.argtypes = result, arguments
    opened.llama_log_set(ctypes.cast(_LOGGER, pointer), None)
    opened.llama_backend_init()
    return opened


def _model_parameters() -> _Block:
    """Return the defaults, without repacking of weights."""
    block: _Block = library().llama_model_default_params()
    data = memoryview(block.data).cast("B")
    # n_gpu_layers and split_mode after two pointers, then the flags: vocab_only,
    # check_tensors, use_extra_bufts, no_host, no_alloc.
    assert struct.unpack_from("<ii", data, 16) == (-1, 1), "another llama_model_params"
    assert bytes(data[72:77]) == b"\0\0\1\0\0", "another llama_model_params"
    data[74] = 0
    return block


def _context_parameters(context: int) -> _Block:
    """Return the defaults, with a float32 cache, no flash attention, and one batch for all."""
    block: _Block = library().llama_context_default_params()
    data = memoryview(block.data).cast("B")
    assert struct.unpack_from("<III", data, 0) == (512, 2048, 512), "another llama_context_params"
    assert struct.unpack_from("<iiiii", data, 36) == (0, -1, -1, -1, -1), "other enums"
    assert struct.unpack_from("<ii", data, 104) == (1, 1), "another place of the cache types"
    struct.pack_into("<III", data, 0, context, context, context)
    struct.pack_into("<ii", data, 28, 2, 2)
    struct.pack_into("<i", data, 52, 0)
    struct.pack_into("<ii", data, 104, 0, 0)
    return block


class Model:
    """A loaded GGUF; use it as a context manager."""

    def __init__(self, model: int) -> None:
        """Take a model's pointer."""
        self._model = model
        self._vocabulary = library().llama_model_get_vocab(model)
        self.tokens: int = library().llama_vocab_n_tokens(self._vocabulary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load a file.

        Raises:
            RuntimeRefused: llama.cpp does not accept it.
        """
        _log.clear()
        # The converter's own check takes the log for itself where it runs in this process.
        library().llama_log_set(ctypes.cast(_LOGGER, ctypes.c_void_p), None)
        model = library().llama_model_load_from_file(str(path).encode(), _model_parameters())
        if not model:
            raise RuntimeRefused(log())
        return cls(model)

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the model."""
        library().llama_model_free(self._model)

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Return the ids of ``text``."""
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 8))()
        count = library().llama_tokenize(
            self._vocabulary, data, len(data), room, len(room), add_special, True
        )
        if count < 0:
            raise RuntimeRefused(f"llama_tokenize: {count}")
        return list(room[:count])

    def ends(self) -> set[int]:
        """Return every token at which the runtime stops generating."""
        is_end = library().llama_vocab_is_eog
        return {number for number in range(self.tokens) if is_end(self._vocabulary, number)}

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``; special tokens show."""
        pieces = b""
        for number in ids:
            room = ctypes.create_string_buffer(1024)
            size = library().llama_token_to_piece(self._vocabulary, number, room, 1024, 0, True)
            pieces += room.raw[: max(size, 0)]
        return pieces.decode("utf-8", "replace")

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the logits after each token of ``ids``, float32 ``[tokens, vocabulary]``."""
        with _Context(self._model, len(ids)) as context:
            return context.decode(ids, 0, self.tokens)

    def generate(self, ids: Sequence[int], count: int) -> list[int]:
        """Return what follows ``ids``, the likeliest token each time, up to end or ``count``."""
        result: list[int] = []
        with _Context(self._model, len(ids) + count) as context:
            row = context.decode(ids, 0, self.tokens)[-1]
            while len(result) < count:
                token = int(row.argmax())
                if library().llama_vocab_is_eog(self._vocabulary, token):
                    break
                result.append(token)
                row = context.decode([token], len(ids) + len(result) - 1, self.tokens)[-1]
        return result


class _Context:
    def __init__(self, model: int, length: int) -> None:
        self._context = library().llama_init_from_model(model, _context_parameters(max(length, 32)))
        if not self._context:
            raise RuntimeRefused(log())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        library().llama_free(self._context)

    def decode(self, ids: Sequence[int], start: int, width: int) -> npt.NDArray[np.float32]:
        self.run(ids, start)
        rows = [
            np.ctypeslib.as_array(library().llama_get_logits_ith(self._context, row), (width,))
            for row in range(len(ids))
        ]
        return np.array(rows, dtype=np.float32)

    def run(self, ids: Sequence[int], start: int = 0) -> None:
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
        status = library().llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeRefused(f"llama_decode: {status}\n{log()}")
