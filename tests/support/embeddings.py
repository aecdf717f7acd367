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
    library.llama_pooling_type.argtypes = [ctypes.c_void_p]
    library.llama_pooling_type.restype = ctypes.c_int
    return library


def embed(model: Model, texts: Sequence[str]) -> Floats:
    """Return the runtime's embedding of each text, normalised, float32 ``[texts, width]``."""
    library = _library()
    width = library.llama_model_n_embd(model._model)
    rows = []
    for text in texts:
        ids = model.tokenize(text)
        with llamacpp._Context(model._model, len(ids)) as context:
            library.llama_set_embeddings(context._context, True)
            context.run(ids)
            pointer = library.llama_get_embeddings_seq(context._context, 0)
            if not pointer:
                raise RuntimeRefused(f"no pooled embedding\n{llamacpp.log()}")
            rows.append(np.array(np.ctypeslib.as_array(pointer, (width,)), dtype=np.float32))
    return normalized(np.array(rows))


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
        mean = settings.get("pooling_mode_mean_tokens") is True
        rows.append(states.mean(axis=0) if mean else states[0])
    return normalized(np.array(rows))


def normalized(rows: Floats) -> Floats:
    """Return rows of length one."""
    result: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result
