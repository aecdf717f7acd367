"""llama.cpp's own tokenizer, as a program: a GGUF without tensors and texts in, token ids out.

It runs in a process of its own, started by path and importing nothing of this package: what a
hostile vocabulary does to the runtime stays there, and so does the memory.

Standard input is one JSON object: ``library`` (path of the shared library), ``vocabulary`` (path
of the GGUF), ``texts``, and ``special``, texts of special tokens. Standard output is ``{"ids":
[[…], …], "special": [[…], …]}``, ``{"refused": why}`` when the runtime does not take the file, or
``{"unfit": why}`` when this release of it is not the one that is known here.
"""

import ctypes
import json
import struct
import sys
from typing import Any

_ROOM = 1024
"""Bytes that the parameters may take, which come and go by value; they take less than 256."""

_GPU_LAYERS, _FLAGS = 16, 72
# n_gpu_layers and split_mode; then vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc.
_KNOWN_ENUMS, _KNOWN_FLAGS = (-1, 1), b"\0\0\1\0\0"


class _Parameters(ctypes.Structure):
    """``llama_model_params``, opaque: the library fills it in, one flag is set."""

    _fields_ = [("data", ctypes.c_uint8 * _ROOM)]


def tokenize(library: str, vocabulary: str, texts: list[str], special: list[str]) -> dict[str, Any]:
    """Return the answer to one request; special tokens are looked for, and none is added."""
    try:
        opened = _open(library)
    except (OSError, AttributeError) as error:
        return {"unfit": str(error)}
    parameters = opened.llama_model_default_params()
    data = memoryview(parameters.data).cast("B")
    if (
        struct.unpack_from("<ii", data, _GPU_LAYERS) != _KNOWN_ENUMS
        or bytes(data[_FLAGS : _FLAGS + 5]) != _KNOWN_FLAGS
    ):
        return {"unfit": "its parameters are laid out differently"}
    data[_FLAGS] = 1  # vocab_only
    model = opened.llama_model_load_from_file(vocabulary.encode(), parameters)
    if not model:
        return {"refused": "it does not load the vocabulary"}
    vocab = opened.llama_model_get_vocab(model)
    return {
        "ids": [_encode(opened, vocab, text.encode()) for text in texts],
        "special": [_encode(opened, vocab, text.encode()) for text in special],
    }


def _open(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    pointer, integer, flag = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "llama_backend_init": (None, []),
        "llama_model_default_params": (_Parameters, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, _Parameters]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_tokenize": (
            integer,
            [pointer, ctypes.c_char_p, integer, pointer, integer, flag, flag],
        ),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_backend_init()
    return library


def _encode(library: ctypes.CDLL, vocab: int, text: bytes) -> list[int]:
    room = (ctypes.c_int32 * (len(text) + 8))()
    count = library.llama_tokenize(vocab, text, len(text), room, len(room), False, True)
    return list(room[: max(count, 0)])


if __name__ == "__main__":
    request = json.load(sys.stdin)
    answer = tokenize(
        request["library"], request["vocabulary"], request["texts"], request["special"]
    )
    json.dump(answer, sys.stdout)
