"""Embeddings by llama.cpp itself, and by transformers as the measure of them.

The runtime pools by the key in the file; the reference pools by sentence-transformers' own
files. Both are normalised, so that a product of two rows is their cosine.

Example:
    >>> with Model.load(Path("/tmp/minilm.gguf")) as model:
    ...     embed(model, ["hello"]).shape
    (1, 384)
"""

import ctypes
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.support import llamacpp
from tests.support.llamacpp import Model, RuntimeRefused

Floats = npt.NDArray[np.float32]


def _library() -> ctypes.CDLL:
    library = llamacpp.library()
    library.llama_set_embeddings.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    library.llama_set_embeddings.restype = None
    library.llama_get_embeddings_seq.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.llama_get_embeddings_seq.restype = ctypes.POINTER(ctypes.c_float)
    library.llama_model_n_embd.argtypes = [ctypes.c_void_p]
    library.llama_model_n_embd.restype = ctypes.c_int32
    library.llama_model_n_cls_out.argtypes = [ctypes.c_void_p]
    library.llama_model_n_cls_out.restype = ctypes.c_uint32
    library.llama_model_cls_label.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.llama_model_cls_label.restype = ctypes.c_char_p
    library.llama_pooling_type.argtypes = [ctypes.c_void_p]
    library.llama_pooling_type.restype = ctypes.c_int
    return library


def embed(model: Model, texts: Sequence[str]) -> Floats:
    """Return the runtime's embedding of each text, normalised, float32 ``[texts, width]``."""
    width = _library().llama_model_n_embd(model._model)
    return normalized(np.array([_pooled(model, model.tokenize(text), width) for text in texts]))


def classify(model: Model, ids: Sequence[int]) -> Floats:
    """Return what a classifier in the runtime says of some tokens, float32 ``[labels]``."""
    return _pooled(model, ids, _library().llama_model_n_cls_out(model._model))


def label(model: Model, number: int) -> str:
    """Return the runtime's name of one output of a classifier."""
    text = _library().llama_model_cls_label(model._model, number)
    return text.decode() if text else ""


def _pooled(model: Model, ids: Sequence[int], width: int) -> Floats:
    library = _library()
    with llamacpp._Context(model._model, len(ids)) as context:
        library.llama_set_embeddings(context._context, True)
        context.run(list(ids))
        pointer = library.llama_get_embeddings_seq(context._context, 0)
        if not pointer:
            raise RuntimeRefused(f"no pooled embedding\n{llamacpp.log()}")
        return np.array(np.ctypeslib.as_array(pointer, (width,)), dtype=np.float32)


def pooling(model: Model) -> int:
    """Return the number of the pooling that the runtime takes from the file."""
    with llamacpp._Context(model._model, 32) as context:
        return int(_library().llama_pooling_type(context._context))


def reference(folder: Path, texts: Sequence[str]) -> Floats:
    """Return transformers' embedding of each text in float32, pooled as ``1_Pooling`` says."""
    import torch
    import transformers

    settings = json.loads((folder / "1_Pooling/config.json").read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer(text).input_ids])
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0].numpy()
        if settings.get("pooling_mode_mean_tokens") is True:
            rows.append(states.mean(axis=0))
        else:
            rows.append(states[-1 if settings.get("pooling_mode_lasttoken") is True else 0])
    return normalized(np.array(rows))


def normalized(rows: Floats) -> Floats:
    """Return rows of length one."""
    result: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result
